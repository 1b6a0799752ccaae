//! What the shim does wrong, and what must not happen around it: each with the contract that would meet it.

use vitro_chaincode::{MAX_CONCURRENT_CALLS, VitroChaincode};
use vitro_contract::{Context, ContractError, Event, OuRole, Response, State, StateError};

use crate::fake::{Caller, soon};
use crate::ways::Service;

/// A contract that does what it is told, whatever a sound contract would not do.
fn probe(_: &Context, state: &mut dyn State, function: &str, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let text = |index: usize| String::from_utf8(args[index].clone()).unwrap();
    let payload = match function {
        "get" => state.get(&text(0))?.map_or(b"nothing".to_vec(), |value| [b"value ", &value[..]].concat()),
        "put" => state.put(&text(0), args[1].clone()).map(|()| Vec::new())?,
        "range" => {
            let keys: Vec<_> = state.range(&text(0), &text(1))?.into_iter().map(|(key, _)| key).collect();
            keys.join(" ").into_bytes()
        }
        "put and fail" => {
            state.put("k", b"v".to_vec())?;
            return Err(StateError("broken".to_owned()).into());
        }
        "put and panic" => {
            state.put("k", b"v".to_vec())?;
            panic!("as told");
        }
        _ => return Err(ContractError::UnknownFunction(function.to_owned())),
    };
    Ok(Response { payload, event: Some(Event { name: "done".to_owned(), payload: vec![] }) })
}

async fn probed() -> Service {
    Service::start(VitroChaincode::of(probe), None).await
}

fn caller() -> Caller {
    Caller::new("RcMSP", OuRole::Client)
}

fn args<const N: usize>(args: [&str; N]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

#[tokio::test]
async fn a_range_from_the_beginning_holds_no_composite_keys() {
    let (service, caller) = (probed().await, caller());
    let peer = service.peer().await;
    for key in ["\u{0}type\u{0}attribute\u{0}", "a", "b", "c", "d"] {
        peer.plant(key, b"v");
    }
    let all = peer.call(&caller, "range", &args(["", ""])).await;
    assert_eq!(all.response.payload, b"a b c d");
    assert_eq!(all.set.ranges[0].0, "\u{1}");
    // Five entries come on three pages.
    peer.plant("e", b"v");
    let some = peer.call(&caller, "range", &args(["a", "f"])).await;
    assert_eq!(some.response.payload, b"a b c d e");
}

#[tokio::test]
async fn composite_keys_are_refused_before_the_peer_hears_of_them() {
    // The shim loses what stands in their empty attributes.
    let key = fabric_shim::create_composite_key("type", &["", "b"]).unwrap();
    assert_eq!(fabric_shim::split_composite_key(&key).unwrap().1, ["b"]);
    let (service, caller) = (probed().await, caller());
    let peer = service.peer().await;
    for (function, args) in [
        ("get", args([&key])),
        ("put", args([&key, "v"])),
        ("range", args([&key, "z"])),
        ("get", args([""])),
        ("get", args(["a\u{10ffff}"])),
        ("put", args(["a", ""])),
    ] {
        let answer = peer.call(&caller, function, &args).await;
        assert_eq!(answer.response.status, 500);
        assert!(answer.response.message.starts_with("state: "), "{}", answer.response.message);
        assert_eq!(answer.set, crate::support::native::ReadWriteSet::default());
    }
}

#[tokio::test]
async fn an_absent_key_is_told_from_one_with_a_value() {
    let (service, caller) = (probed().await, caller());
    let peer = service.peer().await;
    peer.plant("there", b"v");
    assert_eq!(peer.call(&caller, "get", &args(["there"])).await.response.payload, b"value v");
    assert_eq!(peer.call(&caller, "get", &args(["absent"])).await.response.payload, b"nothing");
}

#[tokio::test]
async fn a_failure_or_panic_after_a_write_is_no_endorsement_and_ends_nothing_else() {
    let (service, caller) = (probed().await, caller());
    let peer = service.peer().await;
    for (function, message) in [("put and fail", "state: broken"), ("put and panic", "panic: the contract broke off")] {
        let answer = peer.call(&caller, function, &[]).await;
        assert_eq!((answer.response.status, answer.response.message.as_str()), (500, message));
        assert!(answer.event.is_none());
    }
    let after = peer.call(&caller, "put", &args(["k", "v"])).await;
    assert_eq!(after.response.status, 200);
    assert_eq!(after.event.unwrap().event_name, "done");
}

#[tokio::test]
async fn no_function_or_an_unknown_certificate_is_a_refusal() {
    let (service, nobody) = (probed().await, Caller::new("RcMSP", OuRole::Client).stripped());
    let peer = service.peer().await;
    let answer = peer.call(&nobody, "get", &args(["k"])).await;
    assert!(answer.response.message.starts_with("wrong_identity: "), "{}", answer.response.message);
    let answer = peer.call(&caller(), "nothing", &[]).await;
    assert!(answer.response.message.starts_with("unknown_function: "), "{}", answer.response.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_there_are_slots_all_get_their_answer() {
    let (service, caller) = (probed().await, caller());
    let peer = service.peer().await;
    let mut answers = Vec::new();
    for number in 0..4 * MAX_CONCURRENT_CALLS {
        answers.push(peer.start(&caller, "put", &args([&format!("k{number}"), "v"])).await);
    }
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = soon(answer).await.unwrap();
        assert_eq!((answer.response.status, &answer.set.writes[0].0), (200, &format!("k{number}")));
    }
}

/// Without the relay's answers the shim would wait for ever, and with every slot taken so the chaincode would be dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_goes_away_in_mid_transaction_leaves_nothing_behind() {
    let (service, caller) = (probed().await, caller());
    for _ in 0..2 {
        let peer = service.peer().await;
        let asked = peer.swallow("k", MAX_CONCURRENT_CALLS);
        for _ in 0..MAX_CONCURRENT_CALLS {
            peer.start(&caller, "get", &args(["k"])).await;
        }
        for asked in asked {
            soon(asked).await.unwrap();
        }
    }
    let peer = service.peer().await;
    assert_eq!(peer.call(&caller, "put", &args(["k", "v"])).await.response.status, 200);
}
