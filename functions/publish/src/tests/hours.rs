//! Hours of a shard.

use super::*;

/// The last hour that is over.
const HOUR: i64 = (NOW / 3600 - 1) * 3600;

impl World {
    /// What heartbeat leaves of an hour in which one device was heard of.
    async fn found(&self, heard: i64) -> HourRow {
        let sign = vitro_contract::SignOfLife {
            thing: "dev-1".parse().unwrap(),
            alive: true,
            number: Some(7),
            heard: Some(heard),
            values: vec![],
        };
        let hour = vitro_contract::Hour::beginning(HOUR).unwrap();
        let alive = vitro_contract::Alive::of("north".parse().unwrap(), hour, std::slice::from_ref(&sign)).unwrap();
        let bytes = vitro_contract::Record::encode(&vec![sign]);
        let object = self.archive.put("alive/north/x.cbor", bytes, "application/cbor").await.unwrap();
        let row = HourRow {
            shard: "north".into(),
            hour: HOUR,
            object,
            root: alive.root,
            alive: alive.alive,
            silent: alive.silent,
            found: UnixMillis(NOW * 1000),
            tx: None,
            parked: None,
        };
        self.hours.add(&row).await.unwrap();
        row
    }

    async fn say(&self) -> (Vec<String>, Metrics) {
        self.handle_bodies(&[serde_json::json!({ "shard": "north", "hour": HOUR }).to_string()]).await
    }

    async fn on_ledger(&self) -> Vec<vitro_contract::AliveView> {
        let hour = vitro_contract::Hour::beginning(HOUR).unwrap();
        Client::new(self.channel.clone()).hours(&"north".parse().unwrap(), hour, hour).await.unwrap().0
    }
}

#[tokio::test]
async fn an_hour_is_said_once() {
    let world = world();
    let row = world.found(HOUR * 1000 + 5).await;
    let (failed, metrics) = world.say().await;
    assert!(failed.is_empty() && (metrics.total("HoursSaid") - 1.0).abs() < f64::EPSILON);
    let said = world.on_ledger().await;
    assert_eq!((said.len(), said[0].alive.root, said[0].alive.alive), (1, row.root, 1));
    let noted = world.hours.rows()[0].clone();
    assert_eq!(noted, HourRow { tx: Some(said[0].tx.clone()), ..row });
    let before = world.channel.submitted().len();
    assert!(world.say().await.0.is_empty());
    assert_eq!((world.channel.submitted().len(), world.hours.rows()), (before, vec![noted]));
}

#[tokio::test]
async fn an_hour_waits_for_a_ledger_that_is_away_and_for_its_end() {
    let world = world();
    world.found(HOUR * 1000 + 5).await;
    let away = || LedgerError::Unavailable { what: "no peer answers", failures: Default::default() };
    world.channel.trouble([Trouble::Before(away())]);
    let (failed, metrics) = world.say().await;
    assert_eq!((failed, retried(&metrics, "ledger")), (vec!["m0".to_owned()], (1.0, 1.0)));
    world.channel.set_now(HOUR + 60);
    assert_eq!(retried(&world.say().await.1, "hour_not_over"), (1.0, 1.0));
    world.channel.set_now(NOW);
    // The answer gets lost: it is said, and said again, with the first transaction.
    world.channel.trouble([Trouble::After(LedgerError::OutcomeUnknown { tx_id: "t".into() })]);
    assert_eq!(world.say().await.0, ["m0"]);
    let said = world.on_ledger().await;
    assert!(world.say().await.0.is_empty());
    assert_eq!(world.on_ledger().await, said);
    assert_eq!(world.hours.rows()[0].tx.as_ref(), Some(&said[0].tx));
    assert_eq!(retried(&world.handle_bodies(&[r#"{"shard":"x","hour":0}"#.to_owned()]).await.1, "no_hour"), (1.0, 1.0));
}

#[tokio::test]
async fn another_word_of_an_hour_is_parked_and_holds_nobody_up() {
    let world = world();
    let hour = vitro_contract::Hour::beginning(HOUR).unwrap();
    let other = vitro_contract::Alive::of("north".parse().unwrap(), hour, &[]).unwrap();
    Client::new(world.channel.clone()).alive(&other).await.unwrap();
    world.found(HOUR * 1000 + 5).await;
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&day, 0).await;
    for _ in 0..2 {
        let hour = serde_json::json!({ "shard": "north", "hour": HOUR }).to_string();
        let (failed, metrics) =
            world.handle_bodies(&[hour, r#"{"thing":"dev-1","day":"2026-01-02"}"#.to_owned()]).await;
        assert!(failed.is_empty());
        assert!((metrics.of_reason("DaysParked", "hour_taken") - 1.0).abs() < f64::EPSILON);
    }
    assert_eq!(world.row("dev-1", "2026-01-02").state, DayState::Published);
    let parked = world.parked.rows();
    assert_eq!((parked.len(), parked[0].reason.as_str()), (1, "hour_taken"));
    assert_eq!(parked[0].id, format!("hour-{HOUR:012}-north"));
    assert_eq!(world.hours.rows()[0].parked.as_deref(), Some("hour_taken"));
    assert_eq!(world.on_ledger().await[0].alive, other);
}

#[tokio::test]
async fn a_kill_at_any_point_says_an_hour_once() {
    for limit in 0.. {
        let world = world();
        world.found(HOUR * 1000 + 5).await;
        world.fuse.set(Some(limit));
        let survived = world.say().await.0.is_empty();
        world.fuse.set(None);
        assert!(world.say().await.0.is_empty());
        let said = world.on_ledger().await;
        assert_eq!((said.len(), world.hours.rows()[0].tx.as_ref()), (1, Some(&said[0].tx)));
        if survived {
            assert!(limit >= 6, "the fuse was passed at reading twice and at writing");
            return;
        }
    }
}
