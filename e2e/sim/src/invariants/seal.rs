//! A leader is chosen from enough answers, and it is the best of them; a configuration is left only while it is kept.
//!
//! Enough: n - w + 1 members, in the life that is a member, of the configuration in force and of the one being left; or the former leader itself. The best: no
//! answer has a larger (epoch, seq). Looked at when a record is written, against what its writer had observed. Not where a new generation records that
//! acknowledged entries may be lost.

use trireme_planner::Observed;
use trireme_proto::{
    Report, Topology,
    topology::{Config, Phase},
};

use super::{Found, violated};

/// Looks at the step from one record to the next.
///
/// # Errors
/// The step that is not covered by answers.
pub fn step(observed: &Observed, next: &Topology) -> Found {
    let Some(before) = observed.record.as_ref().filter(|before| before.generation == next.generation) else {
        return Ok(());
    };
    if before.config != next.config && before.phase() == Phase::Active && next.old.is_none() {
        return violated("seal", format!("epoch {} leaves a configuration without keeping it", next.epoch));
    }
    if (before.phase(), next.phase()) != (Phase::Sealing, Phase::Active) {
        return Ok(());
    }
    let heard = observed.replicas.values().filter(|seen| seen.alive()).filter_map(|seen| seen.report.as_ref());
    let answers: Vec<&Report> = heard.filter(|report| report.promise == next.epoch).collect();
    let count = |config: &Config| answers.iter().filter(|answer| config.has(answer.id, answer.incarnation)).count();
    let former =
        answers.iter().any(|answer| answer.id == before.previous_leader && before.has(answer.id, answer.incarnation));
    for config in [Some(&before.config), before.old.as_ref()].into_iter().flatten() {
        if count(config) < config.seal_quorum() && !former {
            let what = format!(
                "epoch {} is led with {} of {} answers of {config:?}",
                next.epoch,
                count(config),
                config.seal_quorum()
            );
            return violated("seal", what);
        }
    }
    let Some(chosen) = answers.iter().find(|answer| answer.id == next.leader) else {
        return violated("seal", format!("epoch {} is led by {}, which did not answer", next.epoch, next.leader));
    };
    match answers.iter().find(|answer| before.has(answer.id, answer.incarnation) && answer.last > chosen.last) {
        Some(better) => violated(
            "seal",
            format!(
                "epoch {}: {} has {}, {} was chosen with {}",
                next.epoch, better.id, better.last, chosen.id, chosen.last
            ),
        ),
        None => Ok(()),
    }
}
