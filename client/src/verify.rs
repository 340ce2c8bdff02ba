//! A verification of the log under way.

use downlink_proto::v1::VerifyLogResponse;
use downlink_proto::v1::verify_log_response::Frame;
use tonic::Streaming;

use crate::{Client, Error, Result};

/// A verification under way. Dropped, it ends.
#[derive(Debug)]
pub struct Verification {
    client: Client,
    frames: Streaming<VerifyLogResponse>,
    ended: bool,
}

impl Verification {
    pub(crate) const fn new(client: Client, frames: Streaming<VerifyLogResponse>) -> Self {
        Self { client, frames, ended: false }
    }

    /// The next frame: progress, something that is wrong, or the summary, after which there is none.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        while !self.ended {
            let message = self.frames.message().await.map_err(|status| self.client.error(&status))?;
            let Some(response) = message else {
                let reason = "a verification that ends in the middle".to_owned();
                return Err(Error::Protocol { url: self.client.url().to_owned(), reason });
            };
            // A frame of a kind that this version does not know says nothing that it could use.
            if let Some(frame) = response.frame {
                self.ended = matches!(frame, Frame::Summary(_));
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}
