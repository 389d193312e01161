//! MOVE and SWAPDB, in a store that has one database.

use super::{Error, Reply, parse};

const OUT_OF_RANGE: Error = Error::Fixed("ERR DB index is out of range");

fn index(text: &[u8]) -> Option<i32> {
    parse::integer(text).and_then(|index| i32::try_from(index).ok())
}

pub fn move_key(args: &[&[u8]]) -> Result<(), Error> {
    match parse::integer_argument(args[2])? {
        0 => Err(Error::Fixed("ERR source and destination objects are the same")),
        index if i32::try_from(index).is_err() => {
            Err(Error::Fixed("ERR value is out of range, value must between -2147483648 and 2147483647"))
        }
        _ => Err(OUT_OF_RANGE),
    }
}

pub fn swap(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    let first = index(args[1]).ok_or(Error::Fixed("ERR invalid first DB index"))?;
    let second = index(args[2]).ok_or(Error::Fixed("ERR invalid second DB index"))?;
    if (first, second) != (0, 0) {
        return Err(OUT_OF_RANGE);
    }
    reply.ok();
    Ok(())
}
