//! Every kind of value and every field comes back bit for bit: live, from disk, sealed.

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_request::{Batch, Message, Open};
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    AppendRequest, AppendStreamRequest, Event, GetLatestRequest, Quality, RollSegmentRequest, Value,
};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::Request;

use crate::harness::{Server, event, soon};

/// A trace, as the W3C header has it and as the bytes that an event keeps.
pub(crate) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const TRACE_CONTEXT: [u8; 25] = [
    0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c, 0xb7,
    0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31, 1,
];

/// What the writer said, as bytes: equal only if every bit is. Quality may be left out for GOOD.
fn content(event: &Event) -> Vec<u8> {
    let quality = if event.quality == 0 { Quality::Good as i32 } else { event.quality };
    Event { offset: 0, signal_id: 0, ingest_time: None, quality, ..event.clone() }.encode_to_vec()
}

fn value(kind: Kind) -> Event {
    let event_time = Some(Timestamp { seconds: 1_539_344_528, nanos: 123_456_789 });
    Event {
        signal: "values".to_owned(),
        event_time,
        value: Some(Value { kind: Some(kind) }),
        ..Event::default()
    }
}

fn kinds() -> Vec<Kind> {
    let doubles = [
        0x7ff8_0000_0000_0000,
        0x7ff8_dead_beef_0001,
        0x7ff0_0000_0000_0001, // signalling
        0xfff8_0000_0000_0000,
        0xffff_ffff_ffff_ffff,
        0x0000_0000_0000_0001, // the least subnormal
        0x8000_0000_0000_0000, // -0.0
    ]
    .map(f64::from_bits)
    .into_iter()
    .chain([
        0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        0.1,
        -1.0 / 3.0,
    ]);
    let ints = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::from(i32::MIN), 1 << 53, i64::MAX - 1, i64::MAX];
    let strings = ["", "\0", "line\nbreak\ttab", "café 🛰 \u{10ffff}", " "];
    let blobs: [&[u8]; 4] =
        [b"", b"\0", &[0xff, 0xfe, 0x80], &std::array::from_fn::<u8, 256, _>(|n| n as u8)];
    doubles
        .map(Kind::DoubleValue)
        .chain(ints.map(Kind::IntValue))
        .chain([false, true].map(Kind::BoolValue))
        .chain(strings.map(|text| Kind::StringValue(text.to_owned())))
        .chain(blobs.map(|bytes| Kind::BytesValue(bytes.to_vec())))
        .collect()
}

fn names_and_sources() -> Vec<Event> {
    let number = || event("", 1.0);
    let mut events: Vec<Event> = ["x", "iss/NODE3000005", "Бак/ø/水位/🛰", "a b*c?[d]", "/", "e\u{301}", "é"]
        .into_iter()
        .map(|signal| Event { signal: signal.to_owned(), ..number() })
        .collect();
    events.push(Event { signal: "é".repeat(127), ..number() });
    events.push(Event { signal: "x".repeat(255), source: "y".repeat(255), ..number() });
    events.push(Event { signal: "src".to_owned(), source: "lightstreamer/ISSLIVE\n".to_owned(), ..number() });
    events
}

fn times() -> Vec<Event> {
    let times = [
        (-62_135_596_800, 0), // 0001-01-01T00:00:00Z
        (-62_135_596_800, 1),
        (-62_135_596_800, 999_999_999),
        (-1, 999_999_999),
        (0, 0),
        (1_539_344_528, 999_999_999),
        (253_402_300_799, 0),
        (253_402_300_799, 999_999_999), // 9999-12-31T23:59:59.999999999Z
    ];
    let at =
        |(seconds, nanos)| Event { event_time: Some(Timestamp { seconds, nanos }), ..event("times", 2.0) };
    times.into_iter().map(at).collect()
}

fn extras() -> Vec<Event> {
    let number = || event("extras", 3.0);
    let attributes = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut events: Vec<Event> = [1, 2, 3, 4].map(|quality| Event { quality, ..number() }).into();
    events.push(Event { attributes: attributes(&[("", "")]), ..number() });
    events
        .push(Event {
            attributes: attributes(&[("crew", "café"), ("empty", ""), ("\n", "\0")]), ..number()
        });
    let most = (0..64).map(|key| (format!("{key:02}"), "x".repeat(254))).collect();
    events.push(Event { attributes: most, ..number() });
    for trace_context in [vec![0], vec![0; 25], (0..64).collect(), TRACE_CONTEXT.to_vec()] {
        events.push(Event { trace_context, ..number() });
    }
    let attributes = attributes(&[("both", "yes")]);
    events.push(Event {
        attributes,
        trace_context: vec![7; 25],
        quality: 4,
        source: "s".to_owned(),
        ..number()
    });
    events
}

/// Everything that fits into one batch.
pub(crate) fn all() -> Vec<Event> {
    let mut events: Vec<Event> = kinds().into_iter().map(value).collect();
    events.extend(names_and_sources().into_iter().chain(times()).chain(extras()));
    for event in &mut events {
        event.event_time.get_or_insert(Timestamp { seconds: 1_539_344_400, nanos: 5 });
    }
    events
}

/// As much as an event may have.
pub(crate) fn large() -> [Event; 2] {
    let text = "0123456789abcdé".repeat(1 << 16);
    let bytes: Vec<u8> = (0_u32..1 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!((text.len(), bytes.len()), (1 << 20, 1 << 20));
    [value(Kind::StringValue(text)), value(Kind::BytesValue(bytes))]
}

async fn expect_all(server: &Server, expected: &[Event], when: &str) {
    let found = server.read_all().await;
    assert_eq!(found.len(), expected.len(), "{when}");
    for (found, sent) in found.iter().zip(expected) {
        assert!(content(found) == content(sent), "{when}: sent {sent:?}, found {found:?}");
    }
    let values =
        server.query().await.get_latest(GetLatestRequest::default()).await.unwrap().into_inner().values;
    for latest in values.into_iter().map(|value| value.event.unwrap()) {
        let newest = expected.iter().rfind(|event| event.signal == latest.signal).unwrap();
        assert!(content(&latest) == content(newest), "{when}: latest {latest:?}, sent {newest:?}");
    }
}

async fn seal(server: &Server) {
    let mut admin = AdminServiceClient::new(server.channel().await);
    admin.roll_segment(RollSegmentRequest { wait_until_sealed: true }).await.unwrap();
    let info = server.info().await;
    assert_eq!((info.segments, info.sealed_segments), (2, 1), "one sealed, one new");
}

#[tokio::test]
async fn every_value_and_field_comes_back_bit_for_bit_live_restarted_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.append(all()).await;
    for event in large() {
        server.append(vec![event]).await;
    }
    for event in all().into_iter().rev() {
        server.append(vec![event]).await;
    }
    let mut expected = all();
    expected.extend(large());
    expected.extend(all().into_iter().rev());

    expect_all(&server, &expected, "live").await;
    server.kill();
    server = Server::start(dir.path());
    expect_all(&server, &expected, "after kill and restart").await;
    seal(&server).await;
    expect_all(&server, &expected, "sealed").await;
    server.kill();
    server = Server::start(dir.path());
    expect_all(&server, &expected, "sealed and restarted").await;
    let (status, _) = server.terminate();
    assert!(status.success());
    expect_all(&Server::start(dir.path()), &expected, "after a good end").await;
}

#[tokio::test]
async fn every_value_comes_back_bit_for_bit_from_a_stream_and_to_a_subscriber() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut subscription = crate::subscribe::Subscription::to(&server, Default::default()).await;
    let (mut producer, _) = crate::producer::Producer::open(&server, Open::default()).await;
    producer.send(1, all());
    producer.send(2, large()[..1].to_vec());
    producer.acks_through(2).await;
    let mut expected = all();
    expected.extend_from_slice(&large()[..1]);
    let found = subscription.events(expected.len()).await;
    for (found, sent) in found.iter().zip(&expected) {
        assert!(content(found) == content(sent), "sent {sent:?}, found {found:?}");
    }
}

/// The trace contexts that two events get whose call has this header: one of its own, one without.
async fn trace_contexts(server: &Server, header: &str) -> Vec<Vec<u8>> {
    let mine = Event { trace_context: vec![9; 5], ..event("traced", 1.0) };
    let events = vec![mine, event("traced", 2.0)];
    let mut unary = Request::new(AppendRequest { events: events.clone(), ..AppendRequest::default() });
    unary.metadata_mut().insert("traceparent", header.parse().unwrap());
    let first = server.ingest().await.append(unary).await.unwrap().into_inner().first_offset;

    let messages =
        [Message::Open(Open::default()), Message::Batch(Batch { sequence: 1, events, columns: None })];
    let messages = messages.map(|message| AppendStreamRequest { message: Some(message) });
    let mut stream = Request::new(tokio_stream::iter(messages));
    stream.metadata_mut().insert("traceparent", header.parse().unwrap());
    let mut answers = server.ingest().await.append_stream(stream).await.unwrap().into_inner();
    while soon("an answer", answers.message()).await.unwrap().is_some() {}

    let events = server.read_all().await;
    let found: Vec<_> =
        events.into_iter().skip(first as usize - 1).map(|event| event.trace_context).collect();
    assert_eq!(found.len(), 4);
    assert_eq!(found[..2], found[2..], "Append and AppendStream alike");
    found[..2].to_vec()
}

#[tokio::test]
async fn the_trace_context_is_the_events_own_or_else_that_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(trace_contexts(&server, TRACEPARENT).await, [vec![9; 5], TRACE_CONTEXT.to_vec()]);
    for malformed in ["", "00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "zz-a-b-c"] {
        assert_eq!(trace_contexts(&server, malformed).await, [vec![9; 5], vec![]], "{malformed:?}");
    }
}
