use proptest::prelude::*;

use super::*;
use crate::error::Reason;
use crate::senml::{Reading, write_pack};

const DAY: DayBounds = DayBounds { from: 1_767_225_600, to: 1_767_225_600 + 86_400 };

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn table() -> SensorTable {
    let json = r#"{"version":1,"sensors":[
        {"name":"gas","unit":"m3","kind":"counter"},
        {"name":"temp","unit":"Cel","kind":"gauge"},
        {"name":"water","unit":"m3","kind":"counter","width":"1000"},
        {"name":"yield","unit":"kWh","kind":"counter","resets_normal":true}]}"#;
    serde_json::from_str(json).unwrap()
}

fn unit(sensor: &str) -> String {
    table().sensors()[table().position(sensor).unwrap()].unit.clone()
}

/// One reading at milliseconds of the day.
fn pack(millis: i64, sensor: &str, value: Option<Decimal>) -> Vec<u8> {
    let reading = Reading { sensor: sensor.parse().unwrap(), unit: unit(sensor), value };
    write_pack(&thing(), UnixMillis(DAY.from * 1000 + millis), &[reading])
}

fn sum_up(
    bounds: DayBounds,
    openings: &BTreeMap<SensorName, Decimal>,
    packs: &[(u64, Vec<u8>)],
) -> BTreeMap<String, Summary> {
    let (thing, table) = (thing(), table());
    let mut summarizer = Summarizer::new(&thing, &table, bounds, openings);
    for (number, payload) in packs {
        summarizer.add(SequenceNumber(*number), Ok(payload));
    }
    summarizer.finish().into_iter().map(|summary| (summary.sensor.to_string(), summary)).collect()
}

fn of_day(packs: &[Vec<u8>]) -> BTreeMap<String, Summary> {
    let packs: Vec<(u64, Vec<u8>)> = (0..).zip(packs.iter().cloned()).collect();
    sum_up(DAY, &BTreeMap::new(), &packs)
}

#[test]
fn a_day_without_envelopes_has_every_sensor_and_its_opening() {
    let openings = BTreeMap::from([("gas".parse().unwrap(), Decimal::from(7))]);
    let day = sum_up(DAY, &openings, &[]);
    assert_eq!(day.keys().collect::<Vec<_>>(), ["gas", "temp", "water", "yield"]);
    let gas = &day["gas"];
    assert_eq!((gas.values, &gas.first, &gas.figures), (0, &None, &None));
    assert_eq!(gas.closing(), Some(&Decimal::from(7)));
    assert_eq!(gas.increase(), Some(Decimal::zero()));
    assert_eq!(day["temp"].increase(), None);
    assert_eq!(closings(&day.into_values().collect::<Vec<_>>()), openings);
}

#[test]
fn whatever_is_wrong_with_a_record_its_sensor_has_it_flagged() {
    let hex = |text: &str| hex::decode(text).unwrap();
    // Base name dev-1/ and base time 1767225600, name "temp", and then ...
    let temp = |fields: &str, count: u8| {
        hex(&format!("81{:02x}21666465762d312f221a6955b900006474656d70{fields}", 0xa3 + count))
    };
    for (payload, code) in [
        (temp("0163436c6c0201", 2), "unit_mismatch"),
        (temp("016343656c", 1), "no_value"),
        (temp("016343656c0503", 2), "sum_only"),
        (temp("016343656c0201036178", 3), "several_values"),
        (temp("016343656c036178", 2), "not_a_number"),
        (temp("016343656c02f97e00", 2), "number_out_of_range"),
        (temp("016343656c0201063a7fffffff", 3), "relative_time"),
        (temp("016343656c020106c4822301", 3), "bad_time"),
    ] {
        let (_, codes) = inspect(Ok(&payload), &thing(), &table());
        assert_eq!(codes.iter().map(Reason::reason).collect::<Vec<_>>(), [code]);
        let day = of_day(&[payload, pack(0, "temp", Some(Decimal::from(1)))]);
        assert_eq!((day["temp"].values, day["temp"].flagged), (1, 1), "{code}");
    }
    // Nobody's: another device's name, a sensor that is not in the table, a pack that cannot be read.
    for payload in [
        hex("81a421666465762d322f221a6955b900006474656d700201"),
        hex("81a421666465762d312f221a6955b900006477696e640201"),
        b"nonsense".to_vec(),
    ] {
        let (_, codes) = inspect(Ok(&payload), &thing(), &table());
        assert_eq!(codes.len(), 1);
        assert!(of_day(&[payload]).values().all(|summary| summary.flagged == 0));
    }
}

#[test]
fn what_lies_in_another_day_is_flagged() {
    let one = Some(Decimal::from(1));
    let packs = [-1, 0, 86_399_999, 86_400_000].map(|millis| pack(millis, "temp", one.clone()));
    let day = of_day(&packs);
    assert_eq!((day["temp"].values, day["temp"].flagged), (2, 2));
    let (times, codes) = inspect(Ok(&packs[0]), &thing(), &table());
    let time = UnixMillis(DAY.from * 1000 - 1);
    assert_eq!((times, codes.len()), (Some(Times { oldest: time, newest: time }), 0), "an envelope alone cannot tell");
}

#[test]
fn a_packs_oldest_and_newest_times_are_told() {
    // Base time 1 767 225 600 s; three records, at +0, -600 and +60 s of it, and one whose time cannot be read.
    let payload = hex::decode(
        "84a521666465762d312f221a6955b900006474656d70016343656c0201\
        a4006474656d70016343656c063902570201a4006474656d70016343656c06183c0201a4006474656d70016343656c06c48223010201",
    )
    .unwrap();
    let (times, codes) = inspect(Ok(&payload), &thing(), &table());
    let at = |seconds: i64| UnixMillis((0x6955_b900 + seconds) * 1000);
    assert_eq!(times, Some(Times { oldest: at(-600), newest: at(60) }));
    assert_eq!(codes.len(), 1, "the last one's time: {codes:?}");
}

#[test]
fn at_one_time_the_lower_number_counts_even_if_it_says_missing() {
    let first = [
        (3, pack(5, "temp", Some(Decimal::from(3)))),
        (1, pack(5, "temp", None)),
        (2, pack(5, "temp", Some(Decimal::from(2)))),
    ];
    let day = sum_up(DAY, &BTreeMap::new(), &first);
    let temp = &day["temp"];
    assert_eq!((temp.values, temp.missing, temp.flagged), (0, 1, 2));
}

#[test]
fn an_encrypted_envelope_is_unreadable_and_breaks_nothing() {
    let (thing, table, openings) = (thing(), table(), BTreeMap::new());
    let mut summarizer = Summarizer::new(&thing, &table, DAY, &openings);
    summarizer.add(SequenceNumber(0), Err(&ContentFault::Encrypted));
    assert_eq!(summarizer.unreadable(), 1);
    assert!(summarizer.heard().values().all(Vec::is_empty));
    let (times, codes) = inspect(Err(&ContentFault::Encrypted), &thing, &table);
    assert_eq!((times, codes), (None, [ContentFault::Encrypted].into()));
}

#[test]
fn a_quarter_belongs_to_its_later_reading() {
    let at = |minute: i64, value: i64| pack(minute * 60_000, "gas", Some(Decimal::from(value)));
    let day = of_day(&[at(14, 10), at(15, 30), at(16, 31), at(1439, 40)]);
    let Some(Figures::Counter { grid, largest_step, increase, .. }) = &day["gas"].figures else { panic!("no counter") };
    assert_eq!(
        (grid.len(), &grid[0], &grid[1], &grid[95]),
        (96, &Decimal::zero(), &Decimal::from(21), &Decimal::from(9))
    );
    assert_eq!((largest_step, increase), (&Decimal::from(20), &Decimal::from(30)));
}

#[test]
fn slots_are_those_that_an_interval_touches() {
    for (from, to, slots) in
        [(0, 900, 1), (0, 901, 2), (899, 901, 2), (-1, 1, 2), (0, 90_000, 100), (5, 5, 1), (900, 900, 0), (900, 0, 0)]
    {
        assert_eq!(grid_slots(DayBounds { from, to }), slots, "{from}..{to}");
    }
    // A foreign block's bounds may be anything.
    assert_eq!(grid_slots(DayBounds { from: i64::MAX, to: i64::MIN }), 0);
    assert!(grid_slots(DayBounds { from: i64::MIN, to: i64::MAX }) > 1 << 50);
}

#[test]
fn summaries_that_say_too_much_or_too_little_are_refused() {
    let day: Vec<Summary> = of_day(&[pack(0, "temp", Some(Decimal::from(1))), pack(0, "gas", Some(Decimal::from(1)))])
        .into_values()
        .collect();
    let good = encode(&day);
    assert_eq!(decode(&good).unwrap(), day);
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_err());
    }
    let gauge = "00616101615702000300040005 00";
    let counter = "0061610161570201030004000500";
    for (bad, why) in [
        ("a0".to_owned(), "summaries"),
        ("8101".to_owned(), "summary 0"),
        (format!("81a7{gauge}0b00"), "do not belong"),
        (format!("81a8{gauge}0601 0701"), "expected array"),
        (format!("81a8{gauge}06820001 07820001"), "do not belong"),
        (format!("81a6{counter}"), "do not belong"),
        (format!("81a8{counter}0bf60c00"), "do not belong"),
        (format!("81a8{counter}0bf60d00"), "do not belong"),
        (format!("81a8{counter}0bf61182190385 80"), "900"),
        (format!("81a7{counter}12 00"), "unknown key 18"),
        ("81a60061610161570202030004000500".to_owned(), "neither"),
        ("81a6 0060 016157 0200 0300 0400 0500".to_owned(), "sensor name"),
        ("81a5 006161 016157 0200 0300 0400".to_owned(), "key 5"),
    ] {
        let error = decode(&hex::decode(bad.replace(' ', "")).unwrap()).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    assert!(decode(&hex::decode(format!("81a6{gauge}").replace(' ', "")).unwrap()).is_ok());
}

/// Readings of all sensors at random times of the day, some missing, with registers that go up and down.
fn readings() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let reading = (0i64..86_400_000, 0usize..4, proptest::option::weighted(0.9, (-50i64..99_000, -3i32..=0)));
    proptest::collection::vec(reading, 0..40).prop_map(|readings| {
        let names = ["gas", "temp", "water", "yield"];
        let of = |(millis, sensor, value): (i64, usize, Option<(i64, i32)>)| {
            // Few distinct times, so that some occur twice.
            let millis = millis / 3_000_000 * 3_000_000;
            pack(millis, names[sensor], value.map(|(m, e)| Decimal::new(m, e)))
        };
        (0..).zip(readings.into_iter().map(of)).collect()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = inspect(Ok(&bytes), &thing(), &table());
    }

    #[test]
    fn the_order_of_envelopes_does_not_matter_and_the_bytes_round_trip(packs in readings(), turn in any::<prop::sample::Index>()) {
        let day = sum_up(DAY, &BTreeMap::new(), &packs);
        let mut other = packs.clone();
        other.reverse();
        if !other.is_empty() {
            let at = turn.index(other.len());
            other.rotate_left(at);
        }
        prop_assert_eq!(&sum_up(DAY, &BTreeMap::new(), &other), &day);
        let summaries: Vec<Summary> = day.into_values().collect();
        prop_assert_eq!(decode(&encode(&summaries)).unwrap(), summaries);
    }

    #[test]
    fn every_record_is_a_value_or_missing_or_flagged(packs in readings()) {
        let day = sum_up(DAY, &BTreeMap::new(), &packs);
        let decreases: u64 = day.values().map(|summary| match &summary.figures {
            Some(Figures::Counter { decreases, .. }) => *decreases,
            _ => 0,
        }).sum();
        let counted: u64 = day.values().map(|summary| summary.values + summary.missing + summary.flagged).sum();
        prop_assert_eq!(counted - decreases, packs.len() as u64, "a decrease is a value and flagged");
    }

    /// Wherever a day is cut in two, the parts add up to the whole, if the second opens with what the first left.
    #[test]
    fn parts_of_a_day_add_up(packs in readings(), cut in 0i64..=86_400, opening in proptest::option::of(0i64..1000)) {
        let openings: BTreeMap<SensorName, Decimal> = ["gas", "water", "yield"]
            .into_iter()
            .filter_map(|name| Some((name.parse().unwrap(), Decimal::from(opening?))))
            .collect();
        let middle = DAY.from + cut;
        let whole = sum_up(DAY, &openings, &packs);
        let first = sum_up(DayBounds { to: middle, ..DAY }, &openings, &packs);
        let left = closings(&first.values().cloned().collect::<Vec<_>>());
        let second = sum_up(DayBounds { from: middle, ..DAY }, &left, &packs);
        for (name, summary) in &whole {
            prop_assert_eq!(summary.values, first[name].values + second[name].values);
            if let Some(total) = summary.increase() {
                prop_assert_eq!(summary.closing(), second[name].closing());
                prop_assert_eq!(total, &first[name].increase().unwrap() + &second[name].increase().unwrap());
            }
        }
    }

    #[test]
    fn quarters_sum_up_to_the_increase(packs in readings()) {
        for summary in sum_up(DAY, &BTreeMap::new(), &packs).values() {
            if let Some(Figures::Counter { increase, grid, largest_step, .. }) = &summary.figures {
                prop_assert_eq!(&grid.iter().fold(Decimal::zero(), |sum, slot| &sum + slot), increase);
                prop_assert!(largest_step <= increase && !largest_step.is_negative());
            }
        }
    }
}
