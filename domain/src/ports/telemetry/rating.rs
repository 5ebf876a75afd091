//! Calls of models whose cost is reckoned here, and what they cost by the present prices.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use super::{Cost, Period, SpanId, TelemetryError, Tenant, TraceId, Usage};
use crate::pricing;

/// Reads calls and writes what they cost. Nothing here touches a cost that its sender has said.
#[async_trait]
pub trait Rating: Send + Sync {
    /// What operators call the store.
    fn name(&self) -> &'static str;

    /// The days (UTC) of a period on which a project made calls, the oldest first.
    async fn days(&self, tenant: Tenant, period: Period) -> Result<Vec<NaiveDate>, TelemetryError>;

    /// Calls of a day in a period whose cost their sender has not said, in an order of the store's own: those behind `after`,
    /// at most `limit`.
    async fn calls(
        &self,
        tenant: Tenant,
        day: NaiveDate,
        period: Period,
        after: Option<&Call>,
        limit: usize,
    ) -> Result<Vec<Call>, TelemetryError>;

    /// Gives calls of a day other costs; whoever reads meanwhile sees the one or the other. When it answers with `Ok`, all of
    /// them are durable.
    async fn set_costs(
        &self,
        tenant: Tenant,
        day: NaiveDate,
        costs: &[NewCost],
    ) -> Result<(), TelemetryError>;

    /// Calls of this day have other costs: what is kept that was made of them is not true any more. Told after they were
    /// written, and again when it may not have been.
    async fn changed(&self, tenant: Tenant, day: NaiveDate) -> Result<(), TelemetryError>;
}

/// A call of a model, as far as its cost depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Its model: the one that answered, where its sender says that.
    pub model: Option<String>,
    /// The model that was asked, where the call has no cost.
    pub asked_model: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// What it costs so far.
    pub cost: Option<Cost>,
}

/// What a call costs from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCost {
    /// The call.
    pub call: Call,
    /// Its cost.
    pub cost: Cost,
}

impl Call {
    /// What it costs by the present prices, if that or the price is another than so far. What has no price now keeps its cost.
    pub fn rated(&self) -> Option<Cost> {
        let before = self.cost.as_ref();
        if before.is_some_and(|cost| cost.price == pricing::EXPLICIT) {
            return None;
        }
        // Whichever model it was priced by is one that was told.
        let priced = before.and_then(|cost| pricing::model_of(&cost.price));
        let asked = self.asked_model.as_deref().or(priced);
        pricing::of_call(self.model.as_deref(), asked, &self.usage, self.at)
            .filter(|cost| Some(cost) != before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(model: &str, cost: Option<(i64, &str)>) -> Call {
        Call {
            trace_id: format!("{:032x}", 1).parse().unwrap(),
            span_id: format!("{:016x}", 1).parse().unwrap(),
            at: "2025-07-01T12:00:00Z".parse().unwrap(),
            model: Some(model.into()),
            asked_model: None,
            usage: Usage { input: 1_000, ..Usage::default() },
            cost: cost.map(|(picos, price)| Cost { picos, price: price.into() }),
        }
    }

    #[test]
    fn a_call_gets_the_price_of_its_day() {
        let new = Cost { picos: 2_000_000_000, price: "openai/o3@2025-06-10".into() };
        assert_eq!(call("o3", Some((10_000_000_000, "openai/o3@2025-04-16"))).rated().as_ref(), Some(&new));
        assert_eq!(call("o3", None).rated().as_ref(), Some(&new));
        assert_eq!(
            call("o3", Some((new.picos, "openai/o3@2025-06-09"))).rated(),
            Some(new.clone()),
            "the price"
        );
        assert_eq!(call("o3", Some((new.picos, &new.price))).rated(), None, "nothing is new");
        let asked = Call { asked_model: Some("o3".into()), ..call("stub-1", None) };
        assert_eq!(asked.rated().as_ref(), Some(&new));
        let priced = call("stub-1", Some((10_000_000_000, "openai/o3@2025-04-16")));
        assert_eq!(priced.rated(), Some(new), "the model that was asked stands in the price");
    }

    #[test]
    fn what_was_said_and_what_has_no_price_stays() {
        assert_eq!(call("o3", Some((7, pricing::EXPLICIT))).rated(), None);
        assert_eq!(call("stub-1", None).rated(), None);
        assert_eq!(call("stub-1", Some((7, "openai/stub-1@2025-01-01"))).rated(), None);
        assert_eq!(Call { model: None, ..call("", None) }.rated(), None);
    }
}
