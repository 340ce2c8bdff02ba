//! Judges messages of events by their outline before they are decoded: two bytes on the wire can be an event of
//! hundreds in memory, and 4 MiB of such would be half a gigabyte.

use std::marker::PhantomData;

use bytes::Buf as _;
use downlink_proto::v1::{AppendRequest, AppendStreamRequest, DefineSignalsRequest, ErrorReason};
use prost::DecodeError;
use prost::Message;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::grpc::fields::{Field, fields};
use crate::grpc::status::Refusal;

/// Events smaller than this are not looked into: what they can become in memory is bounded by their number.
const SMALL_EVENT_BYTES: usize = 4096;
/// More attributes than this are refused with their whole message.
const ATTRIBUTES_MAX: usize = 1024;
/// The field of `Event` that holds its attributes.
const ATTRIBUTES_FIELD: u32 = 9;

/// The field of `EventColumns.Extras` that holds its attributes.
const EXTRAS_ATTRIBUTES_FIELD: u32 = 2;
/// The field of `EventColumns` that has an element for each event.
const SIGNAL_INDEXES_FIELD: u32 = 6;
/// The last field of `EventColumns`.
const LAST_COLUMN_FIELD: usize = 21;

/// How the elements of an array lie in a field of bytes.
enum Packing {
    Varint,
    Fixed(usize),
    /// The field is an element.
    None,
    /// So it is, and it may have attributes.
    Extras,
}

/// How an array of `EventColumns` is packed; `None` if the field is none.
const fn packing(field: u32) -> Option<Packing> {
    Some(match field {
        2 | 4 | 6 | 7 | 8 | 10 | 12 | 13 | 15 | 16 | 21 => Packing::Varint,
        9 | 11 => Packing::Fixed(4),
        14 => Packing::Fixed(8),
        3 | 5 | 17 | 18 | 20 => Packing::None,
        19 => Packing::Extras,
        _ => return None,
    })
}

/// What a batch may have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchMax {
    /// Events.
    pub(crate) events: usize,
    /// Bytes, encoded; a batch of one event may have more.
    pub(crate) bytes: usize,
}

/// A message as it came, if it is one that is worth decoding.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// It is.
    Whole {
        /// The message.
        message: T,
        /// How large its batch was, encoded.
        batch_bytes: usize,
    },
    /// Its batch is too large, and has not been decoded.
    TooLarge {
        /// How many events it had.
        events: usize,
        /// The sequence of the batch, on a stream.
        sequence: u64,
        /// Why it is refused.
        refusal: Refusal,
    },
}

/// What can be said of a batch without decoding it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    events: usize,
    bytes: usize,
    sequence: u64,
    attributes_most: usize,
    /// How many elements each array of the columns has, by its field.
    columns: [usize; LAST_COLUMN_FIELD + 1],
    elements_most: usize,
}

/// A message with a batch of events in it.
pub(crate) trait Outlined: Message + Default {
    /// Its outline.
    fn outline(message: &[u8]) -> Result<Outline, DecodeError>;
}

impl Outlined for AppendRequest {
    fn outline(message: &[u8]) -> Result<Outline, DecodeError> {
        let mut outline = Outline { bytes: message.len(), ..Outline::default() };
        fields(message, |field, value| match (field, value) {
            (1, Field::Bytes(event)) => outline.row(event),
            (5, Field::Bytes(columns)) => outline.columns(columns),
            _ => Ok(()),
        })?;
        Ok(outline)
    }
}

/// Each definition will be an event; its limits have the number of an event's attributes.
impl Outlined for DefineSignalsRequest {
    fn outline(message: &[u8]) -> Result<Outline, DecodeError> {
        let mut outline = Outline { bytes: message.len(), ..Outline::default() };
        fields(message, |field, value| match (field, value) {
            (1, Field::Bytes(definition)) => outline.row(definition),
            _ => Ok(()),
        })?;
        Ok(outline)
    }
}

impl Outlined for AppendStreamRequest {
    fn outline(message: &[u8]) -> Result<Outline, DecodeError> {
        let mut outline = Outline::default();
        fields(message, |field, value| match (field, value) {
            (2, Field::Bytes(batch)) => {
                outline.bytes += batch.len();
                fields(batch, |field, value| match (field, value) {
                    (1, Field::Number(sequence)) => {
                        outline.sequence = sequence;
                        Ok(())
                    }
                    (2, Field::Bytes(event)) => outline.row(event),
                    (3, Field::Bytes(columns)) => outline.columns(columns),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        })?;
        Ok(outline)
    }
}

impl Outline {
    fn row(&mut self, event: &[u8]) -> Result<(), DecodeError> {
        self.events += 1;
        self.attributes_in(event, ATTRIBUTES_FIELD)
    }

    fn columns(&mut self, columns: &[u8]) -> Result<(), DecodeError> {
        fields(columns, |field, value| {
            let Some(packing) = packing(field) else { return Ok(()) };
            let elements = match (value, packing) {
                (Field::Number(_) | Field::Other, _) | (Field::Bytes(_), Packing::None) => 1,
                // The last byte of a number is below 128.
                (Field::Bytes(packed), Packing::Varint) => packed.iter().filter(|byte| **byte < 128).count(),
                (Field::Bytes(packed), Packing::Fixed(bytes)) => packed.len() / bytes,
                (Field::Bytes(extras), Packing::Extras) => {
                    self.attributes_in(extras, EXTRAS_ATTRIBUTES_FIELD)?;
                    1
                }
            };
            let column = &mut self.columns[field as usize];
            *column += elements;
            self.elements_most = self.elements_most.max(*column);
            if field == SIGNAL_INDEXES_FIELD {
                self.events += elements;
            }
            Ok(())
        })
    }

    /// Counts the attributes of an event, or of its extras, if there can be too many.
    fn attributes_in(&mut self, message: &[u8], attributes_field: u32) -> Result<(), DecodeError> {
        if message.len() > SMALL_EVENT_BYTES {
            let mut attributes = 0;
            fields(message, |field, _| {
                attributes += usize::from(field == attributes_field);
                Ok(())
            })?;
            self.attributes_most = self.attributes_most.max(attributes);
        }
        Ok(())
    }

    /// Why a batch like this is refused, if it is.
    fn refusal(&self, most: BatchMax) -> Option<Refusal> {
        let (found, most, what) = if self.events > most.events {
            (self.events, most.events, "events")
        } else if self.elements_most > most.events {
            (self.elements_most, most.events, "elements in one array")
        } else if self.bytes > most.bytes && self.events != 1 {
            (self.bytes, most.bytes, "bytes")
        } else if self.attributes_most > ATTRIBUTES_MAX {
            (self.attributes_most, ATTRIBUTES_MAX, "attributes in one event")
        } else {
            return None;
        };
        let message = format!("the batch has {found} {what}, the most is {most}: send smaller ones");
        Some(Refusal::new(ErrorReason::BatchTooLarge, message).with("found", found).with("most", most))
    }
}

/// Decodes `T` within bounds, encodes `U`.
#[derive(Clone, Debug)]
pub(crate) struct BoundedCodec<T, U> {
    most: BatchMax,
    types: PhantomData<(T, U)>,
}

impl<T, U> BoundedCodec<T, U> {
    /// For batches of at most `most`.
    pub(crate) const fn new(most: BatchMax) -> Self {
        Self { most, types: PhantomData }
    }
}

impl<T: Outlined + 'static, U: Message + 'static> Codec for BoundedCodec<T, U> {
    type Encode = U;
    type Decode = Received<T>;
    type Encoder = ProstEncoder<U>;
    type Decoder = BoundedDecoder<T>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<U, T>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder { most: self.most, types: PhantomData }
    }
}

/// See [`BoundedCodec`].
pub(crate) struct BoundedDecoder<T> {
    most: BatchMax,
    types: PhantomData<T>,
}

impl<T: Outlined> Decoder for BoundedDecoder<T> {
    type Item = Received<T>;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Received<T>>, Status> {
        let encoded = source.chunk();
        assert_eq!(encoded.len(), source.remaining(), "tonic gives a message in one piece");
        let outline = T::outline(encoded).map_err(malformed)?;
        if let Some(refusal) = outline.refusal(self.most) {
            source.advance(source.remaining());
            return Ok(Some(Received::TooLarge {
                events: outline.events,
                sequence: outline.sequence,
                refusal,
            }));
        }
        let message = T::decode(source).map_err(malformed)?;
        Ok(Some(Received::Whole { message, batch_bytes: outline.bytes }))
    }
}

/// A refusal of tonic's in our terms: a message that is too large, as it came or decompressed, never gets as far
/// as our decoder.
pub(crate) fn in_our_terms(status: Status, message_bytes_max: usize) -> Status {
    let is_too_large = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
    if !is_too_large || !status.details().is_empty() {
        return status;
    }
    let message = format!("the message has more than {message_bytes_max} bytes: send smaller batches");
    Refusal::new(ErrorReason::BatchTooLarge, message).with("most", message_bytes_max).into()
}

/// As tonic says it of the other methods.
fn malformed(error: DecodeError) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use downlink_proto::v1::append_stream_request::{self, Batch};
    use downlink_proto::v1::{Event, EventColumns, Value, value::Kind};
    use proptest::prelude::*;

    use super::*;

    const MOST: BatchMax = BatchMax { events: 3, bytes: 10_000 };

    fn event(value_bytes: usize, attributes: usize) -> Event {
        let value = Some(Value { kind: Some(Kind::BytesValue(vec![7; value_bytes])) });
        let attributes = (0..attributes).map(|key| (key.to_string(), String::new())).collect();
        Event { signal: "a".to_owned(), value, attributes, ..Event::default() }
    }

    fn judged(events: Vec<Event>) -> (usize, Option<String>) {
        let unary =
            AppendRequest { events: events.clone(), request_id: "x".to_owned(), ..AppendRequest::default() };
        let unary = AppendRequest::outline(&unary.encode_to_vec()).unwrap();
        let batch = Batch { sequence: 300, events, columns: None };
        let message = Some(append_stream_request::Message::Batch(batch.clone()));
        let stream = AppendStreamRequest::outline(&AppendStreamRequest { message }.encode_to_vec()).unwrap();
        assert_eq!((stream.sequence, stream.bytes), (300, batch.encoded_len()));
        assert_eq!(stream.events, unary.events);
        let message = |outline: &Outline| outline.refusal(MOST).map(|refusal| refusal.into_problem().message);
        assert_eq!(message(&unary).is_some(), message(&stream).is_some());
        (unary.events, message(&unary))
    }

    #[test]
    fn batches_are_judged_without_decoding_them() {
        assert_eq!(judged(vec![event(10, 2); 3]), (3, None));
        assert_eq!(judged(vec![event(90_000, 64)]), (1, None), "a single event may be large");
        assert!(judged(vec![Event::default(); 4]).1.unwrap().contains("4 events, the most is 3"));
        assert!(judged(vec![event(9_000, 0); 2]).1.unwrap().contains("bytes, the most is 10000"));
        assert!(judged(vec![event(0, 2_000)]).1.unwrap().contains("2000 attributes"));
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in
            [&[0xff][..], &[0x0a, 0x05, 0x00], &[0x0b], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert!(AppendRequest::outline(bytes).is_err());
        }
    }

    #[test]
    fn columns_are_counted_packed_or_not() {
        let columns = EventColumns {
            signals: vec!["a".to_owned()],
            signal_indexes: vec![0, 300, 0],
            event_time_nanos: vec![1; 4],
            double_values: vec![1.0; 5],
            // Long text is no message with attributes.
            string_values: vec!["y".repeat(SMALL_EVENT_BYTES + 1)],
            ..EventColumns::default()
        };
        let request = AppendRequest { columns: Some(columns), ..AppendRequest::default() };
        let outline = AppendRequest::outline(&request.encode_to_vec()).unwrap();
        assert_eq!((outline.events, outline.elements_most), (3, 5));
        // Two more indexes, one by one.
        let unpacked = [request.encode_to_vec(), vec![0x2a, 4, 0x30, 0, 0x30, 1]].concat();
        assert_eq!(AppendRequest::outline(&unpacked).unwrap().events, 5);
        assert_eq!(AppendRequest::decode(&*unpacked).unwrap().columns.unwrap().signal_indexes.len(), 5);
    }

    proptest! {
        /// What can be decoded has no more events than its outline says.
        #[test]
        fn an_outline_hides_nothing(bytes in proptest::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..40)) {
            let message = [vec![0x2a, bytes.len() as u8], bytes].concat();
            if let (Ok(outline), Ok(request)) = (AppendRequest::outline(&message), AppendRequest::decode(&*message)) {
                prop_assert_eq!(outline.events, request.columns.unwrap().signal_indexes.len());
            }
        }
    }
}
