//! The API while twelve builds do what they should not.

use futures_util::future::join_all;
use tests::hostile::{ATTACKS, Siege};

use crate::measure::{Figure, percentile};

pub(crate) async fn figures() -> Vec<Figure> {
    let siege = Siege::start(&[]).await;
    let victim = siege.victim().await;
    victim.build(&siege.owner).await;
    let mut attackers = Vec::new();
    for attack in ATTACKS {
        attackers.push(siege.attacker(attack).await);
    }
    let over = async {
        join_all(attackers.iter().map(|it| siege.outcome(it))).await;
    };
    let answers = siege.answers(over).await;
    let name = format!("an answer of the API while {} hostile builds run, p95", ATTACKS.len());
    vec![Figure::limit(&name, percentile(answers, 95), "ms", 500.0)]
}
