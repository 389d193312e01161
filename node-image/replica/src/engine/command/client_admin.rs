//! The arguments of CLIENT KILL, LIST, PAUSE and UNBLOCK, which concern all clients of a replica: who knows them executes these.

use std::collections::BTreeSet;

use super::{Error, parse};

const BAD_ID: Error = Error::Fixed("ERR Invalid client ID");

/// A kind of client, as Redis names them. Other replicas are no clients here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Any that does not subscribe.
    Normal,
    /// One that subscribes.
    Subscriber,
    /// None here is.
    Replica,
}

fn kind(word: &[u8]) -> Result<ClientKind, Error> {
    match word {
        word if parse::is(word, "normal") => Ok(ClientKind::Normal),
        word if parse::is(word, "pubsub") => Ok(ClientKind::Subscriber),
        word if ["master", "replica", "slave"].iter().any(|known| parse::is(word, known)) => Ok(ClientKind::Replica),
        _ => Err(Error::Text([b"ERR Unknown client type '", word, b"'"].concat())),
    }
}

/// Which clients CLIENT LIST lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All of them.
    All,
    /// Those of a kind.
    Kind(ClientKind),
    /// These.
    Ids(BTreeSet<u64>),
}

/// The options of CLIENT LIST.
pub fn list_arguments(args: &[&[u8]]) -> Result<Listed, Error> {
    match &args[2..] {
        [] => Ok(Listed::All),
        [option, word] if parse::is(option, "type") => Ok(Listed::Kind(kind(word)?)),
        [option, ids @ ..] if parse::is(option, "id") && !ids.is_empty() => {
            let id = |id: &&[u8]| parse::integer(id).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
            ids.iter().map(|text| id(text).ok_or(BAD_ID)).collect::<Result<_, _>>().map(Listed::Ids)
        }
        _ => Err(Error::Syntax),
    }
}

/// Which clients CLIENT KILL kills: those of which all of this is so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Killed<'a> {
    /// Its number.
    pub id: Option<u64>,
    /// Where it is.
    pub address: Option<&'a [u8]>,
    /// Where it connected to.
    pub local_address: Option<&'a [u8]>,
    /// What it is.
    pub kind: Option<ClientKind>,
    /// Not the one that asks.
    pub skip_me: bool,
    /// The old form, by the address alone: the reply is OK or that there is none.
    pub one: bool,
}

/// The arguments of CLIENT KILL.
pub fn kill_arguments<'a>(args: &'a [&'a [u8]]) -> Result<Killed<'a>, Error> {
    if let [_, _, address] = args {
        return Ok(Killed { address: Some(address), one: true, ..Killed::default() });
    }
    let mut killed = Killed { skip_me: true, ..Killed::default() };
    for pair in args[2..].chunks(2) {
        let [option, value] = pair else { return Err(Error::Syntax) };
        match option {
            option if parse::is(option, "id") => {
                let id = parse::integer(value).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
                killed.id = Some(id.ok_or(Error::Fixed("ERR client-id should be greater than 0"))?);
            }
            option if parse::is(option, "type") => killed.kind = Some(kind(value)?),
            option if parse::is(option, "addr") => killed.address = Some(value),
            option if parse::is(option, "laddr") => killed.local_address = Some(value),
            // There is one user.
            option if parse::is(option, "user") && *value == b"default" => {}
            option if parse::is(option, "user") => {
                return Err(Error::Text([b"ERR No such user '", *value, b"'"].concat()));
            }
            option if parse::is(option, "skipme") && parse::is(value, "yes") => killed.skip_me = true,
            option if parse::is(option, "skipme") && parse::is(value, "no") => killed.skip_me = false,
            _ => return Err(Error::Syntax),
        }
    }
    Ok(killed)
}

/// The arguments of CLIENT PAUSE: for how many milliseconds, and whether all commands or only those that write.
pub fn pause_arguments(args: &[&[u8]]) -> Result<(u64, bool), Error> {
    let all = match args.get(3) {
        None => true,
        Some(mode) if parse::is(mode, "all") => true,
        Some(mode) if parse::is(mode, "write") => false,
        Some(_) => return Err(Error::Fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    if args.len() > 4 {
        return Err(Error::Fixed("ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP."));
    }
    let ms = parse::integer(args[2]).ok_or(Error::Fixed("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::Fixed("ERR timeout is negative"))?;
    Ok((ms, all))
}

/// The arguments of CLIENT UNBLOCK: which client, and whether with an error.
pub fn unblock_arguments(args: &[&[u8]]) -> Result<(u64, bool), Error> {
    if args.len() > 4 {
        return Err(Error::Fixed(
            "ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.",
        ));
    }
    let with_error = match args.get(3) {
        None => false,
        Some(reason) if parse::is(reason, "timeout") => false,
        Some(reason) if parse::is(reason, "error") => true,
        Some(_) => return Err(Error::Fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = parse::integer_argument(args.get(2).ok_or(Error::Syntax)?)?;
    Ok((u64::try_from(id).unwrap_or(0), with_error))
}
