//! What tokens cost: `prices.json`, a table with dates and sources.
//!
//! Money is whole millionths of a millionth of a US dollar, never a float: the price of one token is a whole number of
//! them. A price is never changed in the table once it was released; a new one gets a line with the day it holds from.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;

use crate::ports::telemetry::{Cost, Usage};

/// The price of a row whose sender has said the cost himself.
pub const EXPLICIT: &str = "explicit";

/// Attributes of OTLP that say which model was asked; the first that is there counts.
pub const ASKED_MODEL: [&str; 3] = ["gen_ai.request.model", "ai.model.id", "llm.request.model"];

/// Where Mastra's own format says it, as the attributes of a span keep that.
pub const ASKED_MODEL_OF_MASTRA: [&[&str]; 2] =
    [&["attributes", "model"], &["metadata", "modelMetadata", "modelId"]];

/// In one US dollar.
pub const PICOS: i64 = 1_000_000_000_000;

/// More than this costs no span: a million dollars.
const MOST: i64 = PICOS * 1_000_000;

static TABLE: LazyLock<Prices> = LazyLock::new(|| {
    let table: Table = serde_json::from_str(include_str!("prices.json")).expect("a test has read it");
    let mut of: HashMap<String, Vec<Price>> = HashMap::new();
    for price in table.prices {
        of.entry(price.model.clone()).or_default().push(price);
    }
    of.values_mut().for_each(|prices| prices.sort_by_key(|price| price.from));
    Prices { version: table.version, of }
});

/// The table as it is asked.
struct Prices {
    version: NaiveDate,
    /// By model, the oldest first.
    of: HashMap<String, Vec<Price>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table"))]
struct Table {
    version: NaiveDate,
    dates: String,
    unit: String,
    sources: HashMap<String, String>,
    prices: Vec<Price>,
}

/// The price of a model's tokens from a day on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Price {
    source: String,
    model: String,
    from: NaiveDate,
    input: Rate,
    output: Rate,
    cache_read: Option<Rate>,
    cache_write: Option<Rate>,
    audio_input: Option<Rate>,
    audio_output: Option<Rate>,
}

/// Millionths of a millionth of a dollar for one token; written as dollars for a million of them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Rate(i64);

impl TryFrom<String> for Rate {
    type Error = String;

    /// Six digits behind the point at most: more would not be whole.
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no price");
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{part:0<6}");
        if part.len() > 6 || digits.len() > 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        digits.parse().map(Self).map_err(|_| wrong())
    }
}

/// The day that the table is of: what is told of costs that were reckoned with it.
pub fn version() -> NaiveDate {
    TABLE.version
}

/// US dollars as a decimal number with all its digits: money is no float.
pub fn dollars(picos: i128) -> String {
    let one = i128::from(PICOS);
    format!("{}.{:012}", picos / one, picos % one)
}

/// What a call cost when it was made: by the price of the model that answered, or else of the one that was asked. This is
/// how every cost is reckoned, when a span comes and when it is reckoned again.
pub fn of_call(
    answered: Option<&str>,
    asked: Option<&str>,
    usage: &Usage,
    at: DateTime<Utc>,
) -> Option<Cost> {
    [answered, asked].into_iter().flatten().find_map(|model| reckon(model, usage, at))
}

/// The model that a price is of, as `source/model@day` says it.
pub fn model_of(price: &str) -> Option<&str> {
    Some(price.split_once('/')?.1.rsplit_once('@')?.0)
}

/// What a call of this model cost when it was made; nothing when its price is not known.
fn reckon(model: &str, usage: &Usage, at: DateTime<Utc>) -> Option<Cost> {
    let price = find(model, at.date_naive())?;
    let known = |tokens: i64| tokens.max(0);
    let audio_input = if price.audio_input.is_some() { known(usage.audio_input) } else { 0 };
    let audio_output = if price.audio_output.is_some() { known(usage.audio_output) } else { 0 };
    let (read, write) = (known(usage.cache_read), known(usage.cache_write));
    // What one part costs the same as the rest need not be told apart: reasoning is output.
    let plain =
        known(known(usage.input).saturating_sub(read).saturating_sub(write).saturating_sub(audio_input));
    let said = known(known(usage.output).saturating_sub(audio_output));
    let parts = [
        (plain, price.input),
        (read, price.cache_read.unwrap_or(price.input)),
        (write, price.cache_write.unwrap_or(price.input)),
        (audio_input, price.audio_input.unwrap_or(price.input)),
        (said, price.output),
        (audio_output, price.audio_output.unwrap_or(price.output)),
    ];
    let picos: i128 = parts.iter().map(|(tokens, rate)| i128::from(*tokens) * i128::from(rate.0)).sum();
    let picos = i64::try_from(picos).ok().filter(|picos| *picos <= MOST)?;
    Some(Cost { picos, price: format!("{}/{}@{}", price.source, price.model, price.from) })
}

/// What a sender has said that it cost; nothing when that can be no cost.
#[expect(clippy::cast_possible_truncation, reason = "it is in the range, and rounded")]
pub fn explicit(dollars: f64) -> Option<Cost> {
    let picos = dollars * 1e12;
    let is_cost = picos >= 0.0 && picos <= MOST as f64;
    is_cost.then(|| Cost { picos: picos.round() as i64, price: EXPLICIT.to_owned() })
}

/// The price of that day; before the first one is known, the first.
fn find(model: &str, day: NaiveDate) -> Option<&'static Price> {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let prices = TABLE.of.get(&name).or_else(|| TABLE.of.get(undated(&name)))?;
    prices.iter().rev().find(|price| price.from <= day).or(prices.first())
}

/// A model's name without what names one edition of it: `-2024-07-18`, `-20250514`, `-latest`.
fn undated(name: &str) -> &str {
    if let Some(rest) = name.strip_suffix("-latest") {
        return rest;
    }
    let is_date = |text: &str, digits: usize| {
        text.bytes().filter(u8::is_ascii_digit).count() == digits
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    [(11, "-", 8), (9, "-", 8)]
        .into_iter()
        .filter_map(|(length, before, digits)| {
            let (rest, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
            (date.strip_prefix(before).is_some_and(|date| is_date(date, digits))).then_some(rest)
        })
        .next()
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: &str) -> DateTime<Utc> {
        format!("{day}T12:00:00Z").parse().unwrap()
    }

    fn picos(model: &str, usage: Usage) -> i64 {
        reckon(model, &usage, at("2026-11-21")).unwrap().picos
    }

    #[test]
    fn the_table_can_be_read_and_every_price_has_a_source() {
        let table: Table = serde_json::from_str(include_str!("prices.json")).unwrap();
        assert!(
            table.version >= NaiveDate::from_ymd_opt(2025, 1, 1).unwrap()
                && !table.unit.is_empty()
                && !table.dates.is_empty()
        );
        for price in &table.prices {
            assert!(table.sources.contains_key(&price.source), "{}", price.model);
            assert_eq!(price.model, price.model.to_lowercase());
            let twin = |other: &&Price| (&other.model, other.from) == (&price.model, price.from);
            assert_eq!(table.prices.iter().filter(twin).count(), 1, "{} twice", price.model);
        }
    }

    #[test]
    fn parts_of_the_input_are_not_paid_twice() {
        let plain = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
        assert_eq!(picos("gpt-4o-mini", plain), PICOS * 3 / 4);
        // 1,000 of which 900 were cached: 100 × 0.15 + 900 × 0.075 for a million; reasoning is part of the output.
        let cached = Usage { input: 1000, cache_read: 900, output: 10, reasoning: 8, ..Usage::default() };
        assert_eq!(picos("gpt-4o-mini", cached), 100 * 150_000 + 900 * 75_000 + 10 * 600_000);
        let wrote = Usage { input: 100, cache_write: 100, ..Usage::default() };
        assert_eq!(picos("claude-sonnet-4-5", wrote), 100 * 3_750_000);
        // A sender whose parts are more than the whole.
        let odd = Usage { input: 5, cache_read: 9, ..Usage::default() };
        assert_eq!(picos("gpt-4o-mini", odd), 9 * 75_000);
        let sound = Usage { input: 10, audio_input: 4, output: 10, audio_output: 10, ..Usage::default() };
        assert_eq!(picos("gpt-4o-audio-preview", sound), 6 * 2_500_000 + 4 * 40_000_000 + 10 * 80_000_000);
        let negative = Usage { input: -5, output: i64::MIN, ..Usage::default() };
        assert_eq!(picos("gpt-4o-mini", negative), 0);
        let huge = Usage { input: i64::MAX, ..Usage::default() };
        assert_eq!(reckon("gpt-4o-mini", &huge, at("2026-01-01")), None);
    }

    #[test]
    fn a_model_is_found_under_the_names_that_senders_give_it() {
        let usage = Usage { input: 22, ..Usage::default() };
        for name in ["gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", "GPT-4o-mini-latest"] {
            assert_eq!(picos(name, usage), 3_300_000, "{name}");
        }
        assert_eq!(picos("claude-sonnet-4-20250514", usage), 66_000_000);
        assert_eq!(reckon("stub-1", &usage, at("2026-01-01")), None);
        assert_eq!(reckon("", &usage, at("2026-01-01")), None);
        assert_eq!(reckon("ö-2024-07-18", &usage, at("2026-01-01")), None);
    }

    #[test]
    fn the_model_that_answered_counts_and_else_the_one_that_was_asked() {
        let usage = Usage { input: 22, ..Usage::default() };
        let price = |answered, asked| {
            of_call(answered, asked, &usage, at("2026-01-01"))
                .and_then(|cost| model_of(&cost.price).map(str::to_owned))
        };
        assert_eq!(price(Some("gpt-4o"), Some("gpt-4o-mini")).as_deref(), Some("gpt-4o"));
        assert_eq!(price(Some("stub-1"), Some("gpt-4o-mini")).as_deref(), Some("gpt-4o-mini"));
        assert_eq!(price(None, Some("gpt-4o-mini")).as_deref(), Some("gpt-4o-mini"));
        assert_eq!(price(Some("stub-1"), None), None);
        assert_eq!(model_of(EXPLICIT), None);
    }

    #[test]
    fn a_call_costs_what_it_cost_on_its_day() {
        let usage = Usage { input: 1_000_000, ..Usage::default() };
        let on = |day| reckon("o3", &usage, at(day)).unwrap();
        assert_eq!(on("2025-06-09").picos, 10 * PICOS);
        assert_eq!(
            (on("2025-06-10").picos, on("2025-06-10").price),
            (2 * PICOS, "openai/o3@2025-06-10".into())
        );
        assert_eq!(on("2024-01-01").picos, 10 * PICOS);
    }

    #[test]
    fn money_is_shown_with_all_its_digits() {
        assert_eq!(super::dollars(3_300_000), "0.000003300000");
        assert_eq!(super::dollars(i128::from(PICOS) * 12 + 1), "12.000000000001");
        assert_eq!(super::dollars(0), "0.000000000000");
    }

    #[test]
    fn what_can_be_no_cost_is_none() {
        assert_eq!(explicit(0.0123).unwrap().picos, 12_300_000_000);
        for odd in [f64::NAN, f64::INFINITY, -1.0, 1e300, 1e7] {
            assert_eq!(explicit(odd), None, "{odd}");
        }
    }
}
