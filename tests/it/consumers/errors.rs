//! What the service refuses, and how it says so.

use super::*;

#[tokio::test]
async fn an_unknown_consumer_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let consumers = Consumers::of(&server).await;
    for refusal in [refused(consumers.try_get("nobody").await), refused(consumers.try_delete("nobody").await)]
    {
        let refusal = refusal.is(Code::NotFound, "CONSUMER_UNKNOWN");
        assert_eq!(refusal.metadata["consumer"], "nobody");
    }
    assert_eq!(server.info().await.head_offset, 1);
}

#[tokio::test]
async fn going_back_needs_leave() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let stored = consumers.commit("bot", 8).await;
    for etag in [String::new(), stored.etag.clone()] {
        let back = CommitCheckpointRequest { etag, ..checkpoint("bot", 3) };
        let refusal = refused(consumers.try_commit(back.clone()).await);
        let refusal = refusal.is(Code::FailedPrecondition, "CHECKPOINT_REWIND");
        assert_eq!(refusal.metadata["next_offset"], "8");
        assert_eq!(consumers.get("bot").await, stored);
    }
    let allowed = CommitCheckpointRequest { allow_rewind: true, ..checkpoint("bot", 3) };
    assert_eq!(consumers.try_commit(allowed).await.unwrap().next_offset, 3);
    assert_eq!(consumers.get("bot").await.next_offset, 3);
}

#[tokio::test]
async fn an_etag_that_is_not_the_consumers_is_a_mismatch() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let with =
        |etag: &str, next| CommitCheckpointRequest { etag: etag.to_owned(), ..checkpoint("bot", next) };
    let refusal = refused(consumers.try_commit(with("1", 2)).await).is(Code::Aborted, "ETAG_MISMATCH");
    assert_eq!((&*refusal.metadata["etag"], &*refusal.metadata["next_offset"]), ("", "0"));
    refused(consumers.try_get("bot").await).is(Code::NotFound, "CONSUMER_UNKNOWN");

    let old = consumers.commit("bot", 2).await;
    let new = consumers.commit("bot", 3).await;
    // Also where it would store nothing.
    for next in [3, 4] {
        let refusal = refused(consumers.try_commit(with(&old.etag, next)).await);
        let refusal = refusal.is(Code::Aborted, "ETAG_MISMATCH");
        assert_eq!((&refusal.metadata["etag"], &*refusal.metadata["next_offset"]), (&new.etag, "3"));
    }
    assert_eq!(consumers.try_commit(with(&new.etag, 4)).await.unwrap().next_offset, 4);
}

#[tokio::test]
async fn an_offset_above_the_head_is_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let refusal = refused(consumers.try_commit(checkpoint("bot", 12)).await);
    let refusal = refusal.is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
    assert_eq!(refusal.metadata["head"], "11");
    assert_eq!(consumers.commit("bot", 11).await.next_offset, 11);
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1)).await;
    let consumers = Consumers::of(&server).await;
    let invalid = |refusal: Refusal, field: &str| {
        refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    };
    for name in ["", &"x".repeat(201), "new\nline", "_own"] {
        invalid(refused(consumers.try_commit(checkpoint(name, 1)).await), "consumer");
        invalid(refused(consumers.try_get(name).await), "consumer");
        invalid(refused(consumers.try_delete(name).await), "consumer");
    }
    assert_eq!(consumers.commit(&"x".repeat(200), 1).await.next_offset, 1);
    invalid(refused(consumers.try_commit(checkpoint("bot", 0)).await), "next_offset");
    let page = |page_size, token: &str| ListConsumersRequest { page_size, page_token: token.to_owned() };
    invalid(refused(consumers.try_list(page(-1, "")).await), "page_size");
    invalid(refused(consumers.try_list(page(0, "?")).await), "page_token");
}
