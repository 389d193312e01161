//! Service-level objectives, as `status` shows them.

use trireme_crds::{Budget, StoreStatus};

use crate::output::{Screen, thousands};

/// A line for each objective; empty where there is none.
pub(crate) fn budgets(status: &StoreStatus, screen: &Screen) -> String {
    let Some(slo) = &status.slo else { return String::new() };
    let rows = [("writes acknowledged within", &slo.write_gap), ("reads no older than", &slo.staleness)];
    let row = |(what, budget): (&str, &Option<Budget>)| {
        let budget = budget.as_ref()?;
        let left = percent(budget.budget_left);
        Some(vec![
            format!("{what} {}", budget.within),
            format!("{} in {}", budget.objective, budget.window),
            format!("{} of {}", thousands(budget.bad), thousands(budget.total)),
            if budget.budget_left > 0.0 { left } else { screen.bad(left) },
            format!("{}x", number(budget.burn_rate)),
        ])
    };
    let rows: Vec<Vec<String>> = rows.into_iter().filter_map(row).collect();
    let heads = ["OBJECTIVE", "FOR", "FAILED", "BUDGET LEFT", "BURNT IN THE LAST HOUR"];
    if rows.is_empty() { String::new() } else { format!("\n{}", screen.table(&heads, &rows)) }
}

fn percent(share: f64) -> String {
    format!("{}%", number(share * 100.0))
}

/// With one decimal, where there is one.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}
