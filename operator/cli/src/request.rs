//! `promote` and `switchover`: changes of leader that a person asks for.

use std::io::{self, IsTerminal as _, Write as _};

use trireme_crds::StoreStatus;

use crate::{
    output::{Failure, Output, json_line, put},
    store::{Answer, Request, Store},
};

/// How a replica is promoted.
#[derive(Clone, Debug, clap::Args)]
pub struct Promotion {
    /// Name of the replica that is to lead, for example orders-1.
    pub replica: String,
    /// Promote it even where fewer than n - w + 1 members answer. Acknowledged writes that only the missing members hold are then lost,
    /// unless these members come back: their writes are appended again. It is recorded in the status.
    #[arg(long)]
    pub force: bool,
    /// Do not ask before a forced promotion.
    #[arg(long, requires = "force")]
    pub yes: bool,
}

/// Asks for it, and shows every decision until it is done.
///
/// # Errors
/// Where nobody agreed to a forced promotion, where it was refused, or where the store does not answer.
pub async fn promote(store: &mut impl Store, promotion: &Promotion, output: Output) -> Result<(), Failure> {
    let replica = promotion.replica.clone();
    let status = store.status().await?;
    must_have_leader(&status)?;
    if promotion.force && !promotion.yes {
        agree(&question(&status, &replica))?;
    }
    store.ask(&Request::Promote { replica, force: promotion.force }).await?;
    follow(store, output).await
}

/// Asks for a hand-over, and shows every decision until it is done.
///
/// # Errors
/// Where it was refused, or the store does not answer.
pub async fn switchover(store: &mut impl Store, to: Option<String>, output: Output) -> Result<(), Failure> {
    must_have_leader(&store.status().await?)?;
    store.ask(&Request::Switchover { to }).await?;
    follow(store, output).await
}

/// Where there is no leader there is nobody to promote, and nobody to hand over from.
///
/// # Errors
/// There: nothing was asked of the store.
pub fn must_have_leader(status: &StoreStatus) -> Result<(), Failure> {
    match status.groups.iter().any(|group| group.r.is_some()) {
        false => Ok(()),
        true => Err(Failure::Input(
            "this store has no leader (mode Leaderless): every member takes reads and writes, and when one is lost nobody has to be chosen. \
             `status` says which members are missing, and what still works"
                .to_owned(),
        )),
    }
}

/// Shows what comes of a request until it is done.
///
/// # Errors
/// Where it was refused, or the store does not answer.
pub async fn follow(store: &mut impl Store, output: Output) -> Result<(), Failure> {
    let mut begun_ms = None;
    loop {
        match store.answer().await? {
            Answer::Happened(happened) => match output {
                Output::Json => put(&json_line(&happened.json)?),
                Output::Text => {
                    let begun_ms = *begun_ms.get_or_insert(happened.at_ms);
                    let at = format!("+{} ms", happened.at_ms.saturating_sub(begun_ms));
                    put(&format!("{at:>9}  {}\n", happened.message));
                }
            },
            Answer::Done(message) => {
                if output == Output::Text {
                    put(&format!("{message}\n"));
                }
                return Ok(());
            }
            Answer::Refused(why) => return Err(Failure::Failed(why)),
        }
    }
}

/// What a forced promotion costs, as far as is known now.
pub fn question(status: &StoreStatus, replica: &str) -> String {
    let mut text = String::new();
    for group in &status.groups {
        let answers = |name: &&String| status.replicas.iter().any(|r| r.reachable && r.name == **name);
        let (heard, missing): (Vec<&String>, Vec<&String>) = group.members.iter().partition(answers);
        let names = |names: &[&String]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "A failover that loses nothing needs {} of {} members (n - w + 1, w = {}); {} can be reached{}.\n",
            group.seal_quorum,
            group.n,
            group.w,
            heard.len(),
            if heard.is_empty() { String::new() } else { format!(": {}", names(&heard)) },
        ));
        text.push_str(&match heard.len() >= group.seal_quorum as usize {
            true => "These are enough: without --force nothing can be lost.\n".to_owned(),
            false => format!(
                "Acknowledged writes that only {} may have are lost, unless they come back: then they are appended again.\n",
                names(&missing)
            ),
        });
    }
    text.push_str(&format!("Type yes to make {replica} the leader all the same: "));
    text
}

/// Lets a person at a terminal agree; anybody else has to say so beforehand.
fn agree(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Input(
            "a forced promotion can lose acknowledged writes: a person is asked at a terminal, a program says --yes"
                .to_owned(),
        ));
    }
    write!(io::stderr(), "{question}").map_err(Failure::from_error)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Failure::from_error)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::Failed("nothing was changed".to_owned())),
    }
}
