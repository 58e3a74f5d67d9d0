//! The router with simulated connections and time.

use proptest::prelude::*;
use vnet_core::control::Reply;

use super::*;

const CONFIG: RouterConfig = RouterConfig {
    relay_timeout: Duration::from_secs(5),
    heartbeat: Duration::from_secs(1),
    dead_after: Duration::from_secs(3),
    relayed: 4,
};

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn response(id: u32) -> Record {
    Record::new(&Envelope { id, body: Body::Response(Ok(Reply::Done)) }).unwrap()
}

fn router(now: Instant) -> Router {
    let mut router = Router::new(host("proxy"), CONFIG);
    for id in 0..4 {
        router.opened(ConnectionId(id), now);
    }
    router
}

#[test]
fn an_answer_finds_its_way_back() {
    let now = Instant::now();
    let mut router = router(now);
    let (client, daemon) = (ConnectionId(0), ConnectionId(1));
    assert_eq!(router.register(daemon, host("b"), now), None);
    let Routed::On(via, record) = router.request(client, 42, Some(host("b")), Request::Ping, now) else {
        panic!("not handed on")
    };
    assert_eq!(via, daemon);
    let relay = record.id();
    assert_eq!(record.envelope().unwrap().body, Body::Request(Some(host("b")), Request::Ping));
    assert_eq!(router.answer(client, response(relay)), Answer::Late, "from the wrong connection");
    assert_eq!(router.answer(daemon, response(relay)), Answer::Back(client, response(42)));
    assert_eq!(router.answer(daemon, response(relay)), Answer::Late, "twice");
}

#[test]
fn what_the_proxy_sends_never_goes_back() {
    let now = Instant::now();
    let mut router = Router::new(host("a"), CONFIG);
    let (proxy, client) = (ConnectionId(0), ConnectionId(1));
    router.opened(proxy, now);
    router.opened(client, now);
    router.set_proxy(proxy, now);
    assert!(matches!(
        router.request(client, 1, Some(host("c")), Request::Ping, now),
        Routed::On(ConnectionId(0), _)
    ));
    let Routed::Refused(error) = router.request(proxy, 1, Some(host("c")), Request::Ping, now) else {
        panic!("a loop")
    };
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("for c"), "{error}");
    assert_eq!(router.request(proxy, 2, Some(host("a")), Request::Ping, now), Routed::Here(Request::Ping));
}

#[test]
fn silence_ends_a_session_and_its_requests() {
    let start = Instant::now();
    let mut router = router(start);
    let (client, daemon) = (ConnectionId(0), ConnectionId(1));
    router.register(daemon, host("b"), start);
    let mut now = start;
    for _ in 0..2 {
        now = router.deadline().unwrap();
        assert!(matches!(router.poll(now)[..], [Action::Send(ConnectionId(1), _)]));
    }
    router.request(client, 7, Some(host("b")), Request::Ping, now);
    now = start + CONFIG.dead_after;
    assert_eq!(router.poll(now), [Action::Dead(daemon, CONFIG.dead_after)]);
    let answers = router.closed(daemon, "silence");
    let [Action::Send(to, record)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((*to, record.id()), (client, 7));
    let Body::Response(Err(error)) = record.envelope().unwrap().body else { panic!("no error") };
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("b was lost") && error.message.contains("silence"), "{error}");
}

#[test]
fn a_daemon_that_did_not_get_to_run_blames_nobody() {
    let start = Instant::now();
    let mut router = router(start);
    router.register(ConnectionId(1), host("b"), start);
    // It sleeps through three beats.
    let now = start + CONFIG.heartbeat + CONFIG.dead_after;
    assert!(
        matches!(router.poll(now)[..], [Action::Send(ConnectionId(1), _)]),
        "what came meanwhile is unread"
    );
    let mut ended = None;
    while ended.is_none() {
        let now = router.deadline().unwrap();
        ended = router.poll(now).iter().any(|action| matches!(action, Action::Dead(..))).then_some(now);
    }
    assert!(ended.unwrap() <= now + CONFIG.dead_after, "but then silence counts");
}

#[test]
fn a_daemon_with_many_links_is_patient() {
    let start = Instant::now();
    let mut router = router(start);
    router.set_links(FEW + 100);
    router.register(ConnectionId(1), host("b"), start);
    let dead =
        |router: &mut Router, now| router.poll(now).contains(&Action::Dead(ConnectionId(1), now - start));
    while router.deadline().unwrap() < start + CONFIG.dead_after + 100 * PER_PEER {
        let now = router.deadline().unwrap();
        assert!(!dead(&mut router, now), "after {:?}", now - start);
    }
    let now = router.deadline().unwrap();
    assert!(dead(&mut router, now));
}

#[test]
fn a_request_times_out_and_its_late_answer_is_ignored() {
    let now = Instant::now();
    let mut router = router(now);
    router.register(ConnectionId(1), host("b"), now);
    let Routed::On(_, record) = router.request(ConnectionId(0), 7, Some(host("b")), Request::Ping, now)
    else {
        panic!("not handed on")
    };
    let actions = router.poll(now + CONFIG.relay_timeout);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Send(ConnectionId(0), answer) if answer.id() == 7))
    );
    assert_eq!(router.answer(ConnectionId(1), record), Answer::Late);
}

#[derive(Clone, Debug)]
enum Step {
    Request { from: u64, to: u8 },
    Answer { nth: usize },
    Close { connection: u64 },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..4, 0_u8..4).prop_map(|(from, to)| Step::Request { from, to }),
        4 => any::<usize>().prop_map(|nth| Step::Answer { nth }),
        1 => (0_u64..4).prop_map(|connection| Step::Close { connection }),
        2 => (0_u64..4000).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    /// Every request gets exactly one answer, at the latest after the
    /// timeout, unless who asked has gone.
    #[test]
    fn one_answer_for_each_request(steps in proptest::collection::vec(step(), 0..60)) {
        let mut now = Instant::now();
        let mut router = router(now);
        router.register(ConnectionId(2), host("b"), now);
        router.register(ConnectionId(3), host("c"), now);
        let targets = [host("proxy"), host("b"), host("c"), host("d")];
        let mut next = 0;
        let mut open: Vec<(u64, u32)> = Vec::new();
        let mut under_way: Vec<(ConnectionId, u32)> = Vec::new();
        let mut closed = Vec::new();
        let answered = |open: &mut Vec<(u64, u32)>, to: ConnectionId, id: u32| {
            let at = open.iter().position(|asked| *asked == (to.0, id));
            prop_assert!(at.is_some(), "an answer to nothing: {} {}", to.0, id);
            open.remove(at.unwrap());
            Ok(())
        };
        for step in steps {
            match step {
                Step::Request { from, to } if !closed.contains(&from) => {
                    next += 1;
                    let target = Some(targets[usize::from(to)].clone());
                    match router.request(ConnectionId(from), next, target, Request::Ping, now) {
                        Routed::Here(_) => prop_assert_eq!(to, 0),
                        Routed::Refused(_) => {}
                        Routed::On(via, record) => {
                            open.push((from, next));
                            under_way.push((via, record.id()));
                        }
                    }
                }
                Step::Answer { nth } if !under_way.is_empty() => {
                    let (via, id) = under_way.swap_remove(nth % under_way.len());
                    if let Answer::Back(to, record) = router.answer(via, response(id)) {
                        answered(&mut open, to, record.id())?;
                    }
                }
                Step::Close { connection } if !closed.contains(&connection) => {
                    closed.push(connection);
                    open.retain(|(from, _)| *from != connection);
                    for action in router.closed(ConnectionId(connection), "test") {
                        let Action::Send(to, record) = action else { continue };
                        answered(&mut open, to, record.id())?;
                    }
                }
                Step::Wait { ms } => {
                    now += Duration::from_millis(ms);
                    for action in router.poll(now) {
                        match action {
                            Action::Send(to, record) if record.id() != 0 => answered(&mut open, to, record.id())?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        for action in router.poll(now + CONFIG.relay_timeout) {
            match action {
                Action::Send(to, record) if record.id() != 0 => answered(&mut open, to, record.id())?,
                _ => {}
            }
        }
        prop_assert_eq!(open, vec![]);
    }
}
