//! One `AppendStream` call: batches go up as they were encoded, answers come down.

use bytes::{BufMut, Bytes};
use downlink_proto::v1::append_stream_request::{Message as RequestMessage, Open};
use downlink_proto::v1::append_stream_response::{Message as ResponseMessage, Opened};
use downlink_proto::v1::{AppendStreamRequest, AppendStreamResponse};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Status, Streaming};

use super::EncodedBatch;
use crate::{Client, Error, Result};

const PATH: &str = "/downlink.v1.IngestService/AppendStream";
/// The number of the field `batch` in a request, and of the field `sequence` in a batch.
const BATCH_FIELD: u32 = 2;
const SEQUENCE_FIELD: u32 = 1;

/// One call, for those who count sequences and resend by themselves. [`Appender`](crate::Appender) does.
#[derive(Debug)]
pub struct AppendStream {
    client: Client,
    requests: Option<mpsc::Sender<Outgoing>>,
    responses: Streaming<AppendStreamResponse>,
}

impl AppendStream {
    /// Opens a stream on which at most so many batches wait to be sent.
    pub async fn open(client: &Client, open: Open, queued_max: usize) -> Result<(Self, Opened)> {
        client.in_time(Self::open_at_last(client, open, queued_max)).await?
    }

    async fn open_at_last(client: &Client, open: Open, queued_max: usize) -> Result<(Self, Opened)> {
        let (requests, receiver) = mpsc::channel(queued_max + 1);
        let error = |status: Status| client.error(&status);
        requests.try_send(Outgoing::Open(open)).expect("the queue has room for one");

        let mut grpc = tonic::client::Grpc::new(client.channel())
            .max_decoding_message_size(client.options().message_bytes_max);
        grpc.ready().await.map_err(|broken| client.broken(&broken))?;
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(PATH);
        let call = grpc.streaming(tonic::Request::new(ReceiverStream::new(receiver)), path, EncodedCodec);
        let responses = call.await.map_err(error)?.into_inner();

        let mut stream = Self { client: client.clone(), requests: Some(requests), responses };
        match stream.next().await? {
            Some(ResponseMessage::Opened(opened)) => Ok((stream, opened)),
            Some(ResponseMessage::Reject(reject)) => {
                let refusal = crate::Refusal::from_problem(&reject.problem.unwrap_or_default());
                Err(Error::Refused(Box::new(refusal)))
            }
            Some(ResponseMessage::Draining(_)) | None => Err(stream.ended()),
            Some(ResponseMessage::Ack(_)) => Err(Error::Protocol {
                url: client.url().to_owned(),
                reason: "an acknowledgement before anything was opened".to_owned(),
            }),
        }
    }

    /// Whether another batch can be sent at present.
    pub fn has_room(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.capacity() > 0)
    }

    /// Sends a batch. False when there is no room, or nobody to send it to any more: the answers tell.
    pub fn try_send(&self, sequence: u64, batch: EncodedBatch) -> bool {
        let body = batch.body;
        self.requests
            .as_ref()
            .is_some_and(|requests| requests.try_send(Outgoing::Batch { sequence, body }).is_ok())
    }

    /// Says that nothing more is going to be sent. Answers to what was sent still come.
    pub fn close(&mut self) {
        self.requests = None;
    }

    /// The next answer; none when the server has ended the stream in good order. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<ResponseMessage>> {
        loop {
            match self.responses.message().await.map_err(|status| self.client.error(&status))? {
                Some(AppendStreamResponse { message: Some(message) }) => return Ok(Some(message)),
                // A message of a kind that this version does not know.
                Some(AppendStreamResponse { message: None }) => {}
                None => return Ok(None),
            }
        }
    }

    pub(crate) fn ended(&self) -> Error {
        let url = self.client.url().to_owned();
        Error::ConnectionLost { url, reason: "the server ended the stream".to_owned() }
    }
}

/// What goes up.
#[derive(Debug)]
enum Outgoing {
    Open(Open),
    Batch { sequence: u64, body: Bytes },
}

/// Sends batches that are encoded already: no second pass over their events, and resending costs nothing.
#[derive(Debug)]
struct EncodedCodec;

impl Codec for EncodedCodec {
    type Encode = Outgoing;
    type Decode = AppendStreamResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for EncodedCodec {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, out: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        match item {
            Outgoing::Open(open) => AppendStreamRequest { message: Some(RequestMessage::Open(open)) }
                .encode(out)
                .map_err(|error| Status::internal(error.to_string())),
            Outgoing::Batch { sequence, body } => {
                let length = 1 + encoded_len_varint(sequence) + body.len();
                out.reserve(length + 16);
                encode_key(BATCH_FIELD, WireType::LengthDelimited, out);
                encode_varint(length as u64, out);
                encode_key(SEQUENCE_FIELD, WireType::Varint, out);
                encode_varint(sequence, out);
                out.put(body);
                Ok(())
            }
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(128 << 10, 64 << 10)
    }
}

impl Decoder for EncodedCodec {
    type Item = AppendStreamResponse;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> std::result::Result<Option<Self::Item>, Status> {
        let message = AppendStreamResponse::decode(bytes);
        message.map(Some).map_err(|error| Status::internal(format!("an answer cannot be decoded: {error}")))
    }
}
