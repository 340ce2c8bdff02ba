//! One `AppendStream` from the producer's side.

use downlink_proto::v1::append_stream_request::{self, Batch, Open};
use downlink_proto::v1::append_stream_response::{Ack, Message, Opened, Reject};
use downlink_proto::v1::{AppendStreamRequest, AppendStreamResponse, Event};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{Server, soon};

/// An open stream: batches go out without waiting, answers are read one by one.
pub(crate) struct Producer {
    requests: Option<mpsc::UnboundedSender<AppendStreamRequest>>,
    answers: Streaming<AppendStreamResponse>,
}

/// `Open` of a named producer.
pub(crate) fn named(id: &str, epoch: u64) -> Open {
    Open { producer_id: id.to_owned(), producer_epoch: epoch, allow_partial: false }
}

impl Producer {
    /// A stream on a connection of its own, with its `Opened`; or the status it was refused with.
    pub(crate) async fn try_open(server: &Server, open: Open) -> Result<(Self, Opened), Status> {
        let mut producer = Self::begin(server, [append_stream_request::Message::Open(open)]).await?;
        match producer.try_answer().await? {
            Some(Message::Opened(opened)) => Ok((producer, opened)),
            other => panic!("the first answer is {other:?}, not Opened"),
        }
    }

    /// The same, which must succeed.
    pub(crate) async fn open(server: &Server, open: Open) -> (Self, Opened) {
        Self::try_open(server, open).await.expect("Opened")
    }

    /// A stream that says `messages` first.
    pub(crate) async fn begin(
        server: &Server,
        messages: impl IntoIterator<Item = append_stream_request::Message>,
    ) -> Result<Self, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for message in messages {
            sender.send(AppendStreamRequest { message: Some(message) }).expect("the receiver is here");
        }
        let requests = UnboundedReceiverStream::new(receiver);
        let response = soon("AppendStream", server.ingest().await.append_stream(requests)).await?;
        Ok(Self { requests: Some(sender), answers: response.into_inner() })
    }

    /// Sends a batch, without waiting for anything. A stream that has ended takes no notice.
    pub(crate) fn send(&self, sequence: u64, events: Vec<Event>) {
        self.say(append_stream_request::Message::Batch(Batch { sequence, events, columns: None }));
    }

    /// Sends any message.
    pub(crate) fn say(&self, message: append_stream_request::Message) {
        let requests = self.requests.as_ref().expect("not closed yet");
        let _ = requests.send(AppendStreamRequest { message: Some(message) });
    }

    /// Ends our half of the stream.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    /// The next answer; `None` at a good end.
    pub(crate) async fn try_answer(&mut self) -> Result<Option<Message>, Status> {
        let answer = soon("an answer", self.answers.message()).await?;
        Ok(answer.map(|answer| answer.message.expect("never an empty answer")))
    }

    /// The next answer, which must come.
    pub(crate) async fn answer(&mut self) -> Message {
        self.try_answer().await.expect("an answer").expect("the stream goes on")
    }

    /// The next answer, which must be an acknowledgement.
    pub(crate) async fn ack(&mut self) -> Ack {
        let answer = self.answer().await;
        let Message::Ack(ack) = answer else { panic!("{answer:?} is not an Ack") };
        ack
    }

    /// The next answer, which must be a rejection.
    pub(crate) async fn reject(&mut self) -> Reject {
        let answer = self.answer().await;
        let Message::Reject(reject) = answer else { panic!("{answer:?} is not a Reject") };
        reject
    }

    /// Acknowledgements, until one reaches `sequence`.
    pub(crate) async fn acks_through(&mut self, sequence: u64) -> Vec<Ack> {
        let mut acks: Vec<Ack> = Vec::new();
        while acks.last().is_none_or(|ack| ack.through_sequence < sequence) {
            acks.push(self.ack().await);
        }
        acks
    }

    /// Everything up to the end, which must be a good one.
    pub(crate) async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.try_answer().await.expect("a good end") {
            messages.push(message);
        }
        messages
    }

    /// Half-close, then [`Self::rest`].
    pub(crate) async fn finish(mut self) -> Vec<Message> {
        self.close();
        self.rest().await
    }
}
