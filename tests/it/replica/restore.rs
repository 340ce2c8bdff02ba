//! `downlink-server restore`: the whole log, or a named reason and nothing that looks like it.

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{Event, ReadRequest, Value};
use prost::Message as _;
use tonic::Code;

use super::{Origin, append_all_kinds, fails, filled, hash, message_of, mirrored_log, restores};
use crate::append::numbered;
use crate::harness::{Server, server_command};
use crate::kafka::{Broker, Message};
use crate::mirror::{caught_up, mirrored};
use crate::random::Random;
use crate::read::at;
use crate::refusal::Refusal;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_is_the_log_and_goes_on_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let primary = mirrored(&dir.path().join("primary"), &topic, &["mirror_checkpoint_ms=50"]);
    append_all_kinds(&primary).await;
    caught_up(&primary).await;
    let end = primary.info().await.head_offset;
    assert!(end > 10_000);
    // While the mirror is at work.
    let meanwhile = dir.path().join("meanwhile");
    let said = restores(&topic, &meanwhile, &[]);
    let origin = Origin::of(&primary).await;
    assert!(said.starts_with(&format!("restored log {}: ", origin.log_id)), "{said}");
    origin.is_copied(&Server::start(&meanwhile), 1, end).await;
    fails(&topic, &meanwhile, &[], &["is not empty", "choose another --data-dir"]);

    assert!(primary.terminate().0.success());
    let afterwards = dir.path().join("afterwards");
    restores(&topic, &afterwards, &[]);
    // Its mirror goes on in the same topic.
    let server = mirrored(&afterwards, &topic, &[]);
    origin.is_copied(&server, 1, end).await;
    let head = server.info().await.head_offset;
    assert!(server.append(numbered("numbered/1", 10)).await.first_offset >= head);
    caught_up(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_named_and_a_restore_goes_on_where_it_was_interrupted_when_it_is_closed() {
    let log = mirrored_log(100).await;
    let (all, _) = log.topic.read();
    let is_lacking = |offset: u64| (500..503).contains(&offset) || offset == 1_000;
    let (lacking, there): (Vec<Message>, Vec<Message>) =
        all.into_iter().partition(|message| is_lacking(message.headers["offset"].parse().unwrap()));
    let topic = filled(4, &there);
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "lacks the 3 events from 500 to 502",
        "4 events are missing in all",
        "--first-offset 1001 begins there",
    ];
    fails(&topic, dir.path(), &[], &words);
    // What has been restored so far is no log of its own.
    let refused = Server::spawn(server_command(dir.path())).err().expect("it does not start");
    assert!(refused.contains("a restore that has not come to its end"), "{refused}");
    fails(
        &topic,
        dir.path(),
        &["--first-offset", "1001"],
        &["has a copy of the log from offset 1 on, not 1001"],
    );
    fails(&topic, dir.path(), &[], &words);

    topic.fill(&lacking);
    restores(&topic, dir.path(), &[]);
    let server = Server::start(dir.path());
    log.origin.is_copied(&server, 1, log.end).await;
    assert_eq!(hash(&server).await, log.origin.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_in_any_order_make_the_log_and_what_comes_twice_alike_is_counted() {
    let log = mirrored_log(100).await;
    let (mut all, _) = log.topic.read();
    let mut random = Random::announced("disordered topic");
    for message in &mut all {
        message.partition = random.below(5);
    }
    let doubled: Vec<_> = all.iter().filter(|_| random.below(20) == 0).cloned().collect();
    all.extend(doubled.iter().cloned());
    for index in (1..all.len()).rev() {
        all.swap(index, random.below(index as u64 + 1) as usize);
    }
    let topic = filled(5, &all);
    let dir = tempfile::tempdir().unwrap();
    let said = restores(&topic, dir.path(), &[]);
    assert!(said.contains(&format!("; {} were in the topic twice", doubled.len())), "{said}");
    let server = Server::start(dir.path());
    log.origin.is_copied(&server, 1, log.end).await;
    assert_eq!(hash(&server).await, log.origin.hash);

    // Not with less room than the disorder needs: then that is said, and nothing is left out.
    let other = tempfile::tempdir().unwrap();
    fails(&topic, other.path(), &["--set", "follow_buffer_events_max=10"], &["it has them all", "raise"]);
}

/// Puts another value into an event's message.
fn forged(message: &Message, change: impl FnOnce(&mut Event)) -> Message {
    let mut event = Event::decode(&*message.value).unwrap();
    change(&mut event);
    Message { value: event.encode_to_vec(), ..message.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_log_is_named_with_its_place() {
    let log = mirrored_log(10).await;
    let (all, _) = log.topic.read();
    let one = message_of(&all, 100);
    let with_header = |name: &str, value: &str| {
        let mut message = one.clone();
        message.headers.insert(name.to_owned(), value.to_owned());
        message
    };
    let elsewhere = |event: &mut Event| event.source = "elsewhere".to_owned();
    // No event is as large, whatever it says.
    let huge = |event: &mut Event| {
        event.offset = 201;
        event.value = Some(Value { kind: Some(Kind::BytesValue(vec![7; 8 << 20])) });
    };
    let cases = [
        ("another source", forged(one, elsewhere), vec!["has another event 100 at position"]),
        ("another log", with_header("log_id", "another"), vec!["is an event of log \"another\""]),
        ("no offset", with_header("offset", "none"), vec!["has a message without an offset"]),
        ("JSON", with_header("content-type", "application/json; message=x"), vec!["has JSON"]),
        (
            "no event",
            Message { value: b"\xff".to_vec(), ..with_header("offset", "201") },
            vec!["is no event"],
        ),
        (
            "a huge event",
            Message { headers: with_header("offset", "201").headers, ..forged(one, huge) },
            vec!["has 8388", "and no event more than"],
        ),
        ("another event", with_header("offset", "201"), vec!["says that it is event 201, and is another"]),
        (
            "time runs backwards",
            Message {
                headers: with_header("offset", "201").headers,
                ..forged(one, |event| {
                    event.offset = 201;
                    event.ingest_time.as_mut().unwrap().seconds -= 1_000;
                })
            },
            vec!["is not a copy", "event 201 came in at"],
        ),
        (
            "another number",
            Message {
                headers: with_header("offset", "201").headers,
                ..forged(message_of(&all, 200), |event| {
                    event.offset = 201;
                    event.signal_id += 1;
                })
            },
            vec!["is not a copy", "signal \"numbered/19\" has"],
        ),
    ];
    for (name, message, words) in cases {
        for is_first in [false, true] {
            // Before the event whose place it takes, or behind everything; each in another partition.
            let odd = Message { partition: 4, ..message.clone() };
            let mut messages = all.clone();
            messages.insert(if is_first { 0 } else { messages.len() }, odd);
            let topic = filled(5, &messages);
            let dir = tempfile::tempdir().unwrap();
            println!("{name}, first: {is_first}");
            let said = fails(&topic, dir.path(), &[], &words.iter().map(|word| &**word).collect::<Vec<_>>());
            if !words[0].contains("copy") && !words[0].contains("another event 100") {
                assert!(said.contains("position 0 of partition 4"), "{said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_has_lost_its_beginning_is_refused_or_taken_from_where_it_is_whole() {
    let log = mirrored_log(100).await;
    let (all, _) = log.topic.read();
    let cut = |partition: u64| {
        let of_it = || all.iter().filter(move |message| message.partition == partition);
        let position = of_it().count() as u64 / (2 + partition);
        let first = of_it().nth(position as usize).expect("half of it").position;
        (partition, first)
    };
    let cuts: Vec<_> = (0..4).map(cut).collect();
    cuts.iter().for_each(|(partition, position)| log.topic.truncate(*partition, *position));
    let offset = |message: &Message| message.headers["offset"].parse::<u64>().unwrap();
    let lost = all.iter().filter(|message| message.position < cuts[message.partition as usize].1);
    let (lost_first, whole_from) =
        (lost.clone().map(offset).min().unwrap(), lost.map(offset).max().unwrap() + 1);
    assert!(lost_first == 1 && whole_from < log.end);

    let dir = tempfile::tempdir().unwrap();
    let refused = dir.path().join("refused");
    let begins = format!("--first-offset {whole_from} begins there");
    fails(&log.topic, &refused, &[], &["lacks", "from 1 to", &begins]);
    let before = (whole_from - 1).to_string();
    fails(
        &log.topic,
        &dir.path().join("before"),
        &["--first-offset", &before],
        &["lacks event", &before, &begins],
    );

    let taken = dir.path().join("taken");
    restores(&log.topic, &taken, &["--first-offset", &whole_from.to_string()]);
    let server = Server::start(&taken);
    log.origin.is_copied(&server, whole_from, log.end).await;
    let request = ReadRequest { start: at(whole_from - 1), ..ReadRequest::default() };
    let answer = server.query().await.read(request).await;
    let status = match answer {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    let refusal = Refusal::read(&status).is(Code::OutOfRange, "OFFSET_TRUNCATED");
    assert_eq!(refusal.metadata["oldest"], whole_from.to_string());
    assert_eq!(server.append(numbered("more", 1)).await.first_offset, log.end);
    assert!(log.dir.path().exists());
}

#[test]
fn what_cannot_be_restored_from_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let topic = Broker::shared().topic();
    fails(&topic, &data, &[], &[topic.name(), "is not there", "is this the topic of a mirror?"]);
    topic.create(2, &[]);
    fails(&topic, &data, &[], &[topic.name(), "has no messages"]);
    topic.produce(&["offset=1"]);
    fails(&topic, &data, &[], &[topic.name(), "has messages that name no log"]);
    assert!(!data.exists(), "nothing is left behind");
    let topic = Broker::shared().topic();
    topic.create(2, &[]);
    topic.produce_odd();
    let said = fails(&topic, &data, &[], &[topic.name(), "has messages that name no log"]);
    assert!(!said.contains("the server stops"), "{said}");
    std::fs::write(dir.path().join("something"), "").unwrap();
    fails(&topic, dir.path(), &[], &["is not empty"]);
}
