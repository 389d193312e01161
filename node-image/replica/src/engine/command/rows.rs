//! The table: one row per command. `tests` checks every row against a real server's `COMMAND INFO`.
//!
//! A row reads: name, arity, flags, index of first key, of last key, step, family, since, summary, handler; then
//! subcommands where there are any.

use super::table::ConnectionCommand as C;
use super::table::Handler::{self, Connection, Data};
use super::table::flag::{
    ADMIN, ALLOW_BUSY, ALONE, BLIND, BLOCKING, DANGEROUS, DENYOOM, FAST, LOADING, MOVABLEKEYS, NO_AUTH, NOSCRIPT,
    PUBSUB, READONLY, SKIP_SLOWLOG, STALE, TELLS_MISSES, WRITE,
};
use super::table::{Group, Spec};
use super::{
    bitfield, bits, blocking, conflicts, expiry, hashes, keys, lcs, lists, memory, object, set_algebra, sets, siblings,
    sort, sorted, sorted_algebra, sorted_range, string_set, strings,
};

macro_rules! rows {
    (@list) => { &[] };
    (@list $subcommands:expr) => { $subcommands };
    ($($name:literal $arity:literal [$($flag:ident)*] $first:literal $last:literal $step:literal
       $group:ident $since:literal $summary:literal $handler:expr $(, $subcommands:expr)?;)*) => {
        &[$(Spec {
            name: $name,
            arity: $arity,
            flags: 0 $(| $flag)*,
            first_key: $first,
            last_key: $last,
            step: $step,
            group: Group::$group,
            since: $since,
            summary: $summary,
            handler: $handler,
            subcommands: rows!(@list $($subcommands)?),
        }),*]
    };
}

/// All rows.
pub static ROWS: &[Spec] = rows! {
    // Strings and counters.
    "get" 2 [READONLY FAST] 1 1 1 String "1.0.0" "The value of a string." Data(strings::get);
    "set" -3 [WRITE DENYOOM BLIND] 1 1 1 String "1.0.0" "Sets a string, of whatever type the key was, with conditions and a time to live." Data(string_set::set);
    "getset" 3 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Sets a string and returns the old one." Data(string_set::getset);
    "getdel" 2 [WRITE FAST] 1 1 1 String "6.2.0" "Returns a string and removes its key." Data(string_set::getdel);
    "getex" -2 [WRITE FAST] 1 1 1 String "6.2.0" "Returns a string and changes its time to live." Data(string_set::getex);
    "mget" -2 [READONLY FAST] 1 -1 1 String "1.0.0" "The values of several strings." Data(strings::mget);
    "mset" -3 [WRITE DENYOOM BLIND] 1 -1 2 String "1.0.1" "Sets several strings at once." Data(string_set::mset);
    "msetnx" -3 [WRITE DENYOOM] 1 -1 2 String "1.0.1" "Sets several strings if none of the keys exists." Data(string_set::msetnx);
    "setnx" 3 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Sets a string if the key does not exist." Data(string_set::setnx);
    "setex" 4 [WRITE DENYOOM BLIND] 1 1 1 String "2.0.0" "Sets a string with a time to live in seconds." Data(string_set::setex);
    "psetex" 4 [WRITE DENYOOM BLIND] 1 1 1 String "2.6.0" "Sets a string with a time to live in milliseconds." Data(string_set::psetex);
    "append" 3 [WRITE DENYOOM FAST] 1 1 1 String "2.0.0" "Appends to a string." Data(strings::append);
    "strlen" 2 [READONLY FAST] 1 1 1 String "2.2.0" "The length of a string, in bytes." Data(strings::strlen);
    "getrange" 4 [READONLY] 1 1 1 String "2.4.0" "A part of a string." Data(strings::getrange);
    "substr" 4 [READONLY] 1 1 1 String "1.0.0" "A part of a string: the old name of GETRANGE." Data(strings::getrange);
    "setrange" 4 [WRITE DENYOOM] 1 1 1 String "2.2.0" "Overwrites a part of a string." Data(strings::setrange);
    "lcs" -3 [READONLY TELLS_MISSES] 1 2 1 String "7.0.0" "The longest common subsequence of two strings." Data(lcs::lcs);
    "incr" 2 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Adds one to a counter." Data(strings::incr);
    "decr" 2 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Takes one from a counter." Data(strings::decr);
    "incrby" 3 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Adds to a counter." Data(strings::incrby);
    "decrby" 3 [WRITE DENYOOM FAST] 1 1 1 String "1.0.0" "Takes from a counter." Data(strings::decrby);
    "incrbyfloat" 3 [WRITE DENYOOM FAST] 1 1 1 String "2.6.0" "Adds to a number that need not be whole." Data(strings::incrbyfloat);
    // Bits of strings.
    "getbit" 3 [READONLY FAST] 1 1 1 Bitmap "2.2.0" "A bit of a string." Data(bits::getbit);
    "setbit" 4 [WRITE DENYOOM] 1 1 1 Bitmap "2.2.0" "Sets a bit of a string." Data(bits::setbit);
    "bitcount" -2 [READONLY] 1 1 1 Bitmap "2.6.0" "How many bits of a string, or of a part of it, are 1." Data(bits::bitcount);
    "bitpos" -3 [READONLY] 1 1 1 Bitmap "2.8.7" "The first bit of a string, or of a part of it, that is 1 or 0." Data(bits::bitpos);
    "bitop" -4 [WRITE DENYOOM] 2 -1 1 Bitmap "2.6.0" "Stores what strings come to bit by bit." Data(bits::bitop);
    "bitfield" -2 [WRITE DENYOOM] 1 1 1 Bitmap "3.2.0" "Reads and changes integers of any width in a string." Data(bitfield::bitfield);
    "bitfield_ro" -2 [READONLY FAST] 1 1 1 Bitmap "6.0.0" "Reads integers of any width in a string." Data(bitfield::bitfield_ro);
    // Hashes.
    "hset" -4 [WRITE DENYOOM FAST] 1 1 1 Hash "2.0.0" "Sets fields of a hash." Data(hashes::hset);
    "hmset" -4 [WRITE DENYOOM FAST BLIND] 1 1 1 Hash "2.0.0" "Sets fields of a hash: the old form of HSET." Data(hashes::hmset);
    "hsetnx" 4 [WRITE DENYOOM FAST] 1 1 1 Hash "2.0.0" "Sets a field of a hash if it does not exist." Data(hashes::hsetnx);
    "hget" 3 [READONLY FAST] 1 1 1 Hash "2.0.0" "The value of a field." Data(hashes::hget);
    "hmget" -3 [READONLY FAST] 1 1 1 Hash "2.0.0" "The values of several fields." Data(hashes::hmget);
    "hgetall" 2 [READONLY] 1 1 1 Hash "2.0.0" "All fields of a hash with their values." Data(hashes::hgetall);
    "hdel" -3 [WRITE FAST] 1 1 1 Hash "2.0.0" "Removes fields of a hash." Data(hashes::hdel);
    "hexists" 3 [READONLY FAST] 1 1 1 Hash "2.0.0" "Whether a hash has a field." Data(hashes::hexists);
    "hlen" 2 [READONLY FAST] 1 1 1 Hash "2.0.0" "How many fields a hash has." Data(hashes::hlen);
    "hkeys" 2 [READONLY] 1 1 1 Hash "2.0.0" "All fields of a hash." Data(hashes::hkeys);
    "hvals" 2 [READONLY] 1 1 1 Hash "2.0.0" "All values of a hash." Data(hashes::hvals);
    "hstrlen" 3 [READONLY FAST] 1 1 1 Hash "3.2.0" "The length of a field's value, in bytes." Data(hashes::hstrlen);
    "hincrby" 4 [WRITE DENYOOM FAST] 1 1 1 Hash "2.0.0" "Adds to a counter in a hash." Data(hashes::hincrby);
    "hincrbyfloat" 4 [WRITE DENYOOM FAST] 1 1 1 Hash "2.6.0" "Adds to a number in a hash that need not be whole." Data(hashes::hincrbyfloat);
    "hrandfield" -2 [READONLY] 1 1 1 Hash "6.2.0" "Random fields of a hash." Data(hashes::hrandfield);
    "hscan" -3 [READONLY] 1 1 1 Hash "2.8.0" "Goes through a hash step by step." Data(hashes::hscan);
    // Sets.
    "sadd" -3 [WRITE DENYOOM FAST] 1 1 1 Set "1.0.0" "Adds members to a set." Data(sets::sadd);
    "srem" -3 [WRITE FAST] 1 1 1 Set "1.0.0" "Removes members from a set." Data(sets::srem);
    "sismember" 3 [READONLY FAST] 1 1 1 Set "1.0.0" "Whether a set has a member." Data(sets::sismember);
    "smismember" -3 [READONLY FAST] 1 1 1 Set "6.2.0" "Whether a set has each of these members." Data(sets::smismember);
    "smembers" 2 [READONLY] 1 1 1 Set "1.0.0" "All members of a set." Data(sets::smembers);
    "scard" 2 [READONLY FAST] 1 1 1 Set "1.0.0" "How many members a set has." Data(sets::scard);
    "spop" -2 [WRITE FAST] 1 1 1 Set "1.0.0" "Removes random members of a set and returns them." Data(sets::spop);
    "srandmember" -2 [READONLY] 1 1 1 Set "1.0.0" "Random members of a set." Data(sets::srandmember);
    "smove" 4 [WRITE FAST] 1 2 1 Set "1.0.0" "Moves a member from one set to another." Data(sets::smove);
    "sinter" -2 [READONLY TELLS_MISSES] 1 -1 1 Set "1.0.0" "The members that all of these sets have." Data(set_algebra::sinter);
    "sunion" -2 [READONLY TELLS_MISSES] 1 -1 1 Set "1.0.0" "The members that any of these sets has." Data(set_algebra::sunion);
    "sdiff" -2 [READONLY TELLS_MISSES] 1 -1 1 Set "1.0.0" "The members that the first set has and the others have not." Data(set_algebra::sdiff);
    "sinterstore" -3 [WRITE DENYOOM] 1 -1 1 Set "1.0.0" "Stores the members that all of these sets have." Data(set_algebra::sinterstore);
    "sunionstore" -3 [WRITE DENYOOM] 1 -1 1 Set "1.0.0" "Stores the members that any of these sets has." Data(set_algebra::sunionstore);
    "sdiffstore" -3 [WRITE DENYOOM] 1 -1 1 Set "1.0.0" "Stores the members that the first set has and the others have not." Data(set_algebra::sdiffstore);
    "sintercard" -3 [READONLY TELLS_MISSES MOVABLEKEYS] 0 0 0 Set "7.0.0" "How many members all of these sets have." Data(set_algebra::sintercard);
    "sscan" -3 [READONLY] 1 1 1 Set "2.8.0" "Goes through a set step by step." Data(sets::sscan);
    // Sorted sets.
    "zadd" -4 [WRITE DENYOOM FAST] 1 1 1 SortedSet "1.2.0" "Sets scores of members of a sorted set, with conditions." Data(sorted::zadd);
    "zrem" -3 [WRITE FAST] 1 1 1 SortedSet "1.2.0" "Removes members of a sorted set." Data(sorted::zrem);
    "zscore" 3 [READONLY FAST] 1 1 1 SortedSet "1.2.0" "The score of a member." Data(sorted::zscore);
    "zmscore" -3 [READONLY FAST] 1 1 1 SortedSet "6.2.0" "The scores of several members." Data(sorted::zmscore);
    "zincrby" 4 [WRITE DENYOOM FAST] 1 1 1 SortedSet "1.2.0" "Adds to the score of a member." Data(sorted::zincrby);
    "zcard" 2 [READONLY FAST] 1 1 1 SortedSet "1.2.0" "How many members a sorted set has." Data(sorted::zcard);
    "zcount" 4 [READONLY FAST] 1 1 1 SortedSet "2.0.0" "How many members have a score within a range." Data(sorted_range::zcount);
    "zlexcount" 4 [READONLY FAST] 1 1 1 SortedSet "2.8.9" "How many members are within a range, where all scores are the same." Data(sorted_range::zlexcount);
    "zrange" -4 [READONLY] 1 1 1 SortedSet "1.2.0" "Members within a range of ranks, of scores, or of members." Data(sorted_range::zrange);
    "zrangestore" -5 [WRITE DENYOOM] 1 2 1 SortedSet "6.2.0" "Stores the members within a range." Data(sorted_range::zrangestore);
    "zrangebyscore" -4 [READONLY] 1 1 1 SortedSet "1.0.5" "Members within a range of scores." Data(sorted_range::zrangebyscore);
    "zrevrangebyscore" -4 [READONLY] 1 1 1 SortedSet "2.2.0" "Members within a range of scores, the highest first." Data(sorted_range::zrevrangebyscore);
    "zrangebylex" -4 [READONLY] 1 1 1 SortedSet "2.8.9" "Members within a range of members." Data(sorted_range::zrangebylex);
    "zrevrangebylex" -4 [READONLY] 1 1 1 SortedSet "2.8.9" "Members within a range of members, the last first." Data(sorted_range::zrevrangebylex);
    "zrevrange" -4 [READONLY] 1 1 1 SortedSet "1.2.0" "Members within a range of ranks, the highest first." Data(sorted_range::zrevrange);
    "zrank" -3 [READONLY FAST] 1 1 1 SortedSet "2.0.0" "The rank of a member." Data(sorted::zrank);
    "zrevrank" -3 [READONLY FAST] 1 1 1 SortedSet "2.0.0" "The rank of a member, counted from the highest." Data(sorted::zrevrank);
    "zremrangebyrank" 4 [WRITE] 1 1 1 SortedSet "2.0.0" "Removes the members within a range of ranks." Data(sorted_range::zremrangebyrank);
    "zremrangebyscore" 4 [WRITE] 1 1 1 SortedSet "1.2.0" "Removes the members within a range of scores." Data(sorted_range::zremrangebyscore);
    "zremrangebylex" 4 [WRITE] 1 1 1 SortedSet "2.8.9" "Removes the members within a range of members." Data(sorted_range::zremrangebylex);
    "zpopmin" -2 [WRITE FAST] 1 1 1 SortedSet "5.0.0" "Removes the members with the lowest scores and returns them." Data(sorted::zpopmin);
    "zpopmax" -2 [WRITE FAST] 1 1 1 SortedSet "5.0.0" "Removes the members with the highest scores and returns them." Data(sorted::zpopmax);
    "zmpop" -4 [WRITE MOVABLEKEYS] 0 0 0 SortedSet "7.0.0" "Removes members of the first sorted set that has any, and returns them." Data(sorted::zmpop);
    "zrandmember" -2 [READONLY] 1 1 1 SortedSet "6.2.0" "Random members of a sorted set." Data(sorted::zrandmember);
    "zunion" -3 [READONLY TELLS_MISSES MOVABLEKEYS] 0 0 0 SortedSet "6.2.0" "The members that any of these sorted sets has." Data(sorted_algebra::zunion);
    "zunionstore" -4 [WRITE DENYOOM MOVABLEKEYS] 1 1 1 SortedSet "2.0.0" "Stores the members that any of these sorted sets has." Data(sorted_algebra::zunionstore);
    "zinter" -3 [READONLY TELLS_MISSES MOVABLEKEYS] 0 0 0 SortedSet "6.2.0" "The members that all of these sorted sets have." Data(sorted_algebra::zinter);
    "zinterstore" -4 [WRITE DENYOOM MOVABLEKEYS] 1 1 1 SortedSet "2.0.0" "Stores the members that all of these sorted sets have." Data(sorted_algebra::zinterstore);
    "zintercard" -3 [READONLY TELLS_MISSES MOVABLEKEYS] 0 0 0 SortedSet "7.0.0" "How many members all of these sorted sets have." Data(sorted_algebra::zintercard);
    "zdiff" -3 [READONLY TELLS_MISSES MOVABLEKEYS] 0 0 0 SortedSet "6.2.0" "The members that the first sorted set has and the others have not." Data(sorted_algebra::zdiff);
    "zdiffstore" -4 [WRITE DENYOOM MOVABLEKEYS] 1 1 1 SortedSet "6.2.0" "Stores the members that the first sorted set has and the others have not." Data(sorted_algebra::zdiffstore);
    "zscan" -3 [READONLY] 1 1 1 SortedSet "2.8.0" "Goes through a sorted set step by step." Data(sorted::zscan);
    // Lists.
    "lpush" -3 [WRITE DENYOOM FAST] 1 1 1 List "1.0.0" "Puts elements before a list." Data(lists::lpush);
    "rpush" -3 [WRITE DENYOOM FAST] 1 1 1 List "1.0.0" "Puts elements behind a list." Data(lists::rpush);
    "lpushx" -3 [WRITE DENYOOM FAST] 1 1 1 List "2.2.0" "Puts elements before a list if it exists." Data(lists::lpushx);
    "rpushx" -3 [WRITE DENYOOM FAST] 1 1 1 List "2.2.0" "Puts elements behind a list if it exists." Data(lists::rpushx);
    "lpop" -2 [WRITE FAST] 1 1 1 List "1.0.0" "Removes the first elements of a list and returns them." Data(lists::lpop);
    "rpop" -2 [WRITE FAST] 1 1 1 List "1.0.0" "Removes the last elements of a list and returns them." Data(lists::rpop);
    "llen" 2 [READONLY FAST] 1 1 1 List "1.0.0" "How many elements a list has." Data(lists::llen);
    "lrange" 4 [READONLY] 1 1 1 List "1.0.0" "Elements within a range of indices." Data(lists::lrange);
    "lindex" 3 [READONLY] 1 1 1 List "1.0.0" "The element at an index." Data(lists::lindex);
    "lset" 4 [WRITE DENYOOM] 1 1 1 List "1.0.0" "Replaces the element at an index." Data(lists::lset);
    "linsert" 5 [WRITE DENYOOM] 1 1 1 List "2.2.0" "Puts an element before or behind another." Data(lists::linsert);
    "lrem" 4 [WRITE] 1 1 1 List "1.0.0" "Removes elements that are the same as this." Data(lists::lrem);
    "ltrim" 4 [WRITE] 1 1 1 List "1.0.0" "Removes all elements but those within a range." Data(lists::ltrim);
    "lpos" -3 [READONLY] 1 1 1 List "6.0.6" "The indices of elements that are the same as this." Data(lists::lpos);
    "lmove" 5 [WRITE DENYOOM] 1 2 1 List "6.2.0" "Moves an element from an end of a list to an end of another." Data(lists::lmove);
    "rpoplpush" 3 [WRITE DENYOOM] 1 2 1 List "1.2.0" "Moves the last element of a list before another." Data(lists::rpoplpush);
    "lmpop" -4 [WRITE MOVABLEKEYS] 0 0 0 List "7.0.0" "Removes elements of the first list that has any, and returns them." Data(lists::lmpop);
    // What waits until there is something: see `blocking`.
    "blpop" -3 [WRITE NOSCRIPT BLOCKING] 1 -2 1 List "2.0.0" "Removes the first element of the first list that has any, or waits for one." Data(blocking::blpop);
    "brpop" -3 [WRITE NOSCRIPT BLOCKING] 1 -2 1 List "2.0.0" "Removes the last element of the first list that has any, or waits for one." Data(blocking::brpop);
    "blmove" 6 [WRITE DENYOOM NOSCRIPT BLOCKING] 1 2 1 List "6.2.0" "Moves an element from an end of a list to an end of another, or waits for one." Data(blocking::blmove);
    "brpoplpush" 4 [WRITE DENYOOM NOSCRIPT BLOCKING] 1 2 1 List "2.2.0" "Moves the last element of a list before another, or waits for one." Data(blocking::brpoplpush);
    "blmpop" -5 [WRITE BLOCKING MOVABLEKEYS] 0 0 0 List "7.0.0" "Removes elements of the first list that has any, or waits for some." Data(blocking::blmpop);
    "bzpopmin" -3 [WRITE NOSCRIPT FAST BLOCKING] 1 -2 1 SortedSet "5.0.0" "Removes the member with the lowest score of the first sorted set that has any, or waits for one." Data(blocking::bzpopmin);
    "bzpopmax" -3 [WRITE NOSCRIPT FAST BLOCKING] 1 -2 1 SortedSet "5.0.0" "Removes the member with the highest score of the first sorted set that has any, or waits for one." Data(blocking::bzpopmax);
    "bzmpop" -5 [WRITE BLOCKING MOVABLEKEYS] 0 0 0 SortedSet "7.0.0" "Removes members of the first sorted set that has any, or waits for some." Data(blocking::bzmpop);
    // Keys of any type.
    "del" -2 [WRITE] 1 -1 1 Generic "1.0.0" "Removes keys." Data(keys::del);
    "unlink" -2 [WRITE FAST] 1 -1 1 Generic "4.0.0" "Removes keys." Data(keys::del);
    "exists" -2 [READONLY FAST] 1 -1 1 Generic "1.0.0" "How many of these keys exist." Data(keys::exists);
    "type" 2 [READONLY FAST] 1 1 1 Generic "1.0.0" "The type of a key." Data(keys::kind);
    "touch" -2 [READONLY FAST] 1 -1 1 Generic "3.2.1" "How many of these keys exist." Data(keys::touch);
    "keys" 2 [READONLY DANGEROUS] 0 0 0 Generic "1.0.0" "All keys that match a pattern." Data(keys::keys);
    "scan" -2 [READONLY] 0 0 0 Generic "2.8.0" "Goes through the keys step by step." Data(keys::scan);
    "randomkey" 1 [READONLY] 0 0 0 Generic "1.0.0" "A random key." Data(keys::randomkey);
    "rename" 3 [WRITE] 1 2 1 Generic "1.0.0" "Gives a key another name." Data(keys::rename);
    "renamenx" 3 [WRITE FAST] 1 2 1 Generic "1.0.0" "Gives a key another name, unless that exists." Data(keys::renamenx);
    "copy" -3 [WRITE DENYOOM] 1 2 1 Generic "6.2.0" "Copies a key." Data(keys::copy);
    "sort" -2 [WRITE DENYOOM MOVABLEKEYS DANGEROUS] 1 1 1 Generic "1.0.0" "The elements of a list, set or sorted set in an order, or what they name elsewhere." Data(sort::sort);
    "sort_ro" -2 [READONLY TELLS_MISSES MOVABLEKEYS DANGEROUS] 1 1 1 Generic "7.0.0" "The same, and stores nothing." Data(sort::sort_ro);
    "dbsize" 1 [READONLY FAST] 0 0 0 Server "1.0.0" "How many keys there are." Data(keys::dbsize);
    "flushdb" -1 [WRITE DANGEROUS] 0 0 0 Server "1.0.0" "Removes all keys." Data(keys::flush);
    "flushall" -1 [WRITE DANGEROUS] 0 0 0 Server "1.0.0" "Removes all keys." Data(keys::flush);
    "move" 3 [WRITE FAST] 1 1 1 Generic "1.0.0" "Refused: there is one database." Connection(C::Move);
    "swapdb" 3 [WRITE FAST DANGEROUS] 0 0 0 Server "4.0.0" "Only 0 with itself: there is one database." Connection(C::SwapDb);
    "object" -2 [] 0 0 0 Generic "2.2.3" "The form of a value." Data(object::object), OBJECT_SUBCOMMANDS;
    // Times to live.
    "expire" -3 [WRITE FAST] 1 1 1 Generic "1.0.0" "Sets a time to live, in seconds." Data(expiry::expire);
    "pexpire" -3 [WRITE FAST] 1 1 1 Generic "2.6.0" "Sets a time to live, in milliseconds." Data(expiry::pexpire);
    "expireat" -3 [WRITE FAST] 1 1 1 Generic "1.2.0" "Sets when a key expires, in seconds since 1970." Data(expiry::expireat);
    "pexpireat" -3 [WRITE FAST] 1 1 1 Generic "2.6.0" "Sets when a key expires, in milliseconds since 1970." Data(expiry::pexpireat);
    "ttl" 2 [READONLY FAST] 1 1 1 Generic "1.0.0" "The time to live, in seconds." Data(expiry::ttl);
    "pttl" 2 [READONLY FAST] 1 1 1 Generic "2.6.0" "The time to live, in milliseconds." Data(expiry::pttl);
    "expiretime" 2 [READONLY FAST] 1 1 1 Generic "7.0.0" "When a key expires, in seconds since 1970." Data(expiry::expiretime);
    "pexpiretime" 2 [READONLY FAST] 1 1 1 Generic "7.0.0" "When a key expires, in milliseconds since 1970." Data(expiry::pexpiretime);
    "persist" 2 [WRITE FAST] 1 1 1 Generic "2.2.0" "Takes away a time to live." Data(expiry::persist);
    // The connection.
    "ping" -1 [FAST] 0 0 0 Connection "1.0.0" "Answers PONG, or the message." Connection(C::Ping);
    "echo" 2 [LOADING STALE FAST] 0 0 0 Connection "1.0.0" "Answers the message." Connection(C::Echo);
    "hello" -1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] 0 0 0 Connection "6.0.0" "Chooses the protocol and says what the server is." Connection(C::Hello);
    "select" 2 [LOADING STALE FAST] 0 0 0 Connection "1.0.0" "Chooses the database: there is only 0." Connection(C::Select);
    "quit" -1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] 0 0 0 Connection "1.0.0" "Closes the connection." Connection(C::Quit);
    "reset" 1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] 0 0 0 Connection "6.2.0" "Makes the connection as if it were new." Connection(C::Reset);
    "client" -2 [] 0 0 0 Connection "2.4.0" "What concerns this connection." Connection(C::Client), CLIENT_SUBCOMMANDS;
    "command" -1 [LOADING STALE] 0 0 0 Server "2.8.13" "What commands there are." Connection(C::Command), COMMAND_SUBCOMMANDS;
    "time" 1 [LOADING STALE FAST] 0 0 0 Server "2.6.0" "The server's clock." Connection(C::Time);
    "config" -2 [] 0 0 0 Server "2.0.0" "Parameters that clients ask for." Connection(C::Config), CONFIG_SUBCOMMANDS;
    "lastsave" 1 [LOADING STALE FAST] 0 0 0 Server "1.0.0" "When this replica's last checkpoint was finished." Connection(C::LastSave);
    "role" 1 [NOSCRIPT LOADING STALE FAST] 0 0 0 Server "2.8.12" "What this replica is in the replication." Connection(C::Role);
    "memory" -2 [] 0 0 0 Server "4.0.0" "What takes memory." Data(memory::memory), MEMORY_SUBCOMMANDS;
    "slowlog" -2 [] 0 0 0 Server "2.2.12" "Commands that this replica has executed for long." Connection(C::SlowLog), SLOWLOG_SUBCOMMANDS;
    "latency" -2 [] 0 0 0 Server "2.8.13" "How long this replica has executed commands." Connection(C::Latency), LATENCY_SUBCOMMANDS;
    "debug" -2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "1.0.0" "Waits; nothing else." Connection(C::Debug);
    "script" -2 [] 0 0 0 Scripting "2.6.0" "Scripts, of which there are none." Connection(C::Script), SCRIPT_SUBCOMMANDS;
    "function" -2 [] 0 0 0 Scripting "7.0.0" "Functions, of which there are none." Connection(C::Function), FUNCTION_SUBCOMMANDS;
    "auth" -2 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] 0 0 0 Connection "1.0.0" "Says who the client is." Connection(C::Auth);
    // This store's own: see the front page of `command`.
    "siblings" 2 [READONLY FAST] 1 1 1 String "7.2.0" "The values that a string has at once, and a context that says they were seen." Data(siblings::siblings);
    "put" 5 [WRITE DENYOOM BLIND ALONE] 1 1 1 String "7.2.0" "Sets a string in place of what a context of SIBLINGS saw, and of nothing else." Data(siblings::put);
    "consistency" -1 [NOSCRIPT LOADING STALE FAST] 0 0 0 Connection "7.2.0" "How many copies this connection's writes wait for, and how many replicas its reads ask." Connection(C::Consistency);
    "conflicts" -1 [] 0 0 0 Server "7.2.0" "What was written at the same time on several sides, what is shown of it, and why." Connection(C::Conflicts), CONFLICTS_SUBCOMMANDS;
    "session" -2 [] 0 0 0 Connection "7.2.0" "What this connection has seen, for another one to go on from, and what it is promised." Connection(C::Session), SESSION_SUBCOMMANDS;
    // Transactions, replication, the server.
    "multi" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] 0 0 0 Transactions "1.2.0" "Begins a transaction." Connection(C::Multi);
    "exec" 1 [NOSCRIPT LOADING STALE SKIP_SLOWLOG] 0 0 0 Transactions "1.2.0" "Executes a transaction." Connection(C::Exec);
    "discard" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] 0 0 0 Transactions "2.0.0" "Forgets a transaction." Connection(C::Discard);
    "watch" -2 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] 1 -1 1 Transactions "2.2.0" "Makes the next transaction depend on keys staying as they are." Connection(C::Watch);
    "unwatch" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] 0 0 0 Transactions "2.2.0" "Forgets what is watched." Connection(C::Unwatch);
    "readonly" 1 [LOADING STALE FAST] 0 0 0 Cluster "3.0.0" "Reads may be answered by this replica from what it has." Connection(C::ReadOnly);
    "readwrite" 1 [LOADING STALE FAST] 0 0 0 Cluster "3.0.0" "Takes READONLY back." Connection(C::ReadWrite);
    "wait" 3 [NOSCRIPT] 0 0 0 Generic "3.0.0" "Waits until other replicas have the writes of this connection." Connection(C::Wait);
    "waitaof" 4 [NOSCRIPT] 0 0 0 Generic "7.2.0" "Waits until the writes of this connection are on disk, here and on other replicas." Connection(C::WaitAof);
    "info" -1 [LOADING STALE DANGEROUS] 0 0 0 Server "1.0.0" "The state of the server." Connection(C::Info);
    "cluster" -2 [] 0 0 0 Cluster "3.0.0" "Redis Cluster, which this store is not." Connection(C::Cluster), CLUSTER_SUBCOMMANDS;
    // Publishing and subscribing.
    "publish" 3 [PUBSUB LOADING STALE FAST] 0 0 0 PubSub "2.0.0" "Gives a message to those who subscribe to a channel." Connection(C::Publish);
    "subscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] 0 0 0 PubSub "2.0.0" "Listens to channels." Connection(C::Subscribe);
    "unsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] 0 0 0 PubSub "2.0.0" "Stops listening to channels." Connection(C::Unsubscribe);
    "psubscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] 0 0 0 PubSub "2.0.0" "Listens to all channels whose names match patterns." Connection(C::PSubscribe);
    "punsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] 0 0 0 PubSub "2.0.0" "Stops listening to what matches patterns." Connection(C::PUnsubscribe);
    "ssubscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] 1 -1 1 PubSub "7.0.0" "Listens to shard channels: a name space of its own." Connection(C::SSubscribe);
    "sunsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] 1 -1 1 PubSub "7.0.0" "Stops listening to shard channels." Connection(C::SUnsubscribe);
    "spublish" 3 [PUBSUB LOADING STALE FAST] 1 1 1 PubSub "7.0.0" "Gives a message to those who subscribe to a shard channel." Connection(C::SPublish);
    "pubsub" -2 [] 0 0 0 PubSub "2.8.0" "Who listens to what, on this replica." Connection(C::PubSub), PUBSUB_SUBCOMMANDS;
};

const OBJECT_HANDLER: Handler = Data(object::object);
const OBJECT_SUBCOMMANDS: &[Spec] = rows! {
    "object|encoding" 3 [READONLY] 2 2 1 Generic "2.2.3" "How Redis would keep such a value in memory." OBJECT_HANDLER;
    "object|freq" 3 [READONLY] 2 2 1 Generic "4.0.0" "Refused: how often a key is used is not kept." OBJECT_HANDLER;
    "object|help" 2 [LOADING STALE] 0 0 0 Generic "6.2.0" "What OBJECT can do." OBJECT_HANDLER;
    "object|idletime" 3 [READONLY] 2 2 1 Generic "2.2.3" "Since the key was last used here. Where keys are not evicted by that, some have no room for it: since they were last written." OBJECT_HANDLER;
    "object|refcount" 3 [READONLY] 2 2 1 Generic "2.2.3" "Always 1." OBJECT_HANDLER;
};

const CLIENT_HANDLER: Handler = Connection(C::Client);
const CLIENT_SUBCOMMANDS: &[Spec] = rows! {
    "client|getname" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "2.6.9" "The connection's name." CLIENT_HANDLER;
    "client|help" 2 [LOADING STALE] 0 0 0 Connection "5.0.0" "What CLIENT can do." CLIENT_HANDLER;
    "client|id" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "5.0.0" "The connection's number." CLIENT_HANDLER;
    "client|info" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "6.2.0" "This connection." CLIENT_HANDLER;
    "client|getredir" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "6.0.0" "Always -1: keys are not tracked." CLIENT_HANDLER;
    "client|kill" -3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "2.4.0" "Closes connections with this replica." CLIENT_HANDLER;
    "client|list" -2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "2.4.0" "The connections with this replica." CLIENT_HANDLER;
    "client|no-evict" 3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "7.0.0" "Accepted: connections are never evicted." CLIENT_HANDLER;
    "client|no-touch" 3 [LOADING NOSCRIPT STALE] 0 0 0 Connection "7.2.0" "What it reads at the replica that it is connected to does not count as used." CLIENT_HANDLER;
    "client|pause" -3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "3.0.0" "Holds back commands of this replica's clients for a time." CLIENT_HANDLER;
    "client|reply" 3 [NOSCRIPT LOADING STALE] 0 0 0 Connection "3.2.0" "Whether replies are sent." CLIENT_HANDLER;
    "client|setinfo" 4 [LOADING NOSCRIPT STALE] 0 0 0 Connection "7.2.0" "Says which library the client uses." CLIENT_HANDLER;
    "client|tracking" -3 [NOSCRIPT LOADING STALE] 0 0 0 Connection "6.0.0" "Refused but for OFF: keys are not tracked." CLIENT_HANDLER;
    "client|trackinginfo" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "6.2.0" "That keys are not tracked." CLIENT_HANDLER;
    "client|unblock" -3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "5.0.0" "Ends the waiting of a client of this replica." CLIENT_HANDLER;
    "client|unpause" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Connection "6.2.0" "Holds back no more." CLIENT_HANDLER;
    "client|setname" 3 [NOSCRIPT LOADING STALE] 0 0 0 Connection "2.6.9" "Names the connection." CLIENT_HANDLER;
};

const COMMAND_HANDLER: Handler = Connection(C::Command);
const COMMAND_SUBCOMMANDS: &[Spec] = rows! {
    "command|count" 2 [LOADING STALE] 0 0 0 Server "2.8.13" "How many commands there are." COMMAND_HANDLER;
    "command|docs" -2 [LOADING STALE] 0 0 0 Server "7.0.0" "What commands are for." COMMAND_HANDLER;
    "command|getkeys" -4 [LOADING STALE] 0 0 0 Server "2.8.13" "The keys of a whole command." COMMAND_HANDLER;
    "command|help" 2 [LOADING STALE] 0 0 0 Server "5.0.0" "What COMMAND can do." COMMAND_HANDLER;
    "command|info" -2 [LOADING STALE] 0 0 0 Server "2.8.13" "What commands are." COMMAND_HANDLER;
    "command|list" -2 [LOADING STALE] 0 0 0 Server "7.0.0" "The names of the commands." COMMAND_HANDLER;
};

const CONFLICTS_HANDLER: Handler = Connection(C::Conflicts);
const CONFLICTS_SUBCOMMANDS: &[Spec] = rows! {
    "conflicts|get" -2 [NOSCRIPT LOADING STALE] 0 0 0 Server "7.2.0" "The latest conflicts that this replica has joined." CONFLICTS_HANDLER;
    "conflicts|help" 2 [LOADING STALE] 0 0 0 Server "7.2.0" "What CONFLICTS can do." CONFLICTS_HANDLER;
    "conflicts|key" 3 [READONLY] 2 2 1 Server "7.2.0" "What a key holds beside what reads show of it." Data(conflicts::key);
    "conflicts|len" 2 [NOSCRIPT LOADING STALE] 0 0 0 Server "7.2.0" "How many conflicts are kept." CONFLICTS_HANDLER;
    "conflicts|reset" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "7.2.0" "Forgets them." CONFLICTS_HANDLER;
};

const SESSION_HANDLER: Handler = Connection(C::Session);
const SESSION_SUBCOMMANDS: &[Spec] = rows! {
    "session|guarantees" -2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "7.2.0" "What this connection is promised." SESSION_HANDLER;
    "session|help" 2 [LOADING STALE] 0 0 0 Connection "7.2.0" "What SESSION can do." SESSION_HANDLER;
    "session|reset" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "7.2.0" "Forgets what this connection has seen." SESSION_HANDLER;
    "session|resume" 3 [NOSCRIPT LOADING STALE] 0 0 0 Connection "7.2.0" "Goes on from what another connection has seen." SESSION_HANDLER;
    "session|status" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "7.2.0" "What of it is missing, lost, or recovered." SESSION_HANDLER;
    "session|token" 2 [NOSCRIPT LOADING STALE] 0 0 0 Connection "7.2.0" "What this connection has seen, as one word." SESSION_HANDLER;
};

const CONFIG_HANDLER: Handler = Connection(C::Config);
const CONFIG_SUBCOMMANDS: &[Spec] = rows! {
    "config|get" -3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.0.0" "The values of parameters." CONFIG_HANDLER;
    "config|help" 2 [LOADING STALE] 0 0 0 Server "5.0.0" "What CONFIG can do." CONFIG_HANDLER;
    "config|resetstat" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.0.0" "Accepted." CONFIG_HANDLER;
    "config|rewrite" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.0" "Refused: a store is configured by its resource." CONFIG_HANDLER;
    "config|set" -4 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.0.0" "Sets parameters of this replica; others are the resource's." CONFIG_HANDLER;
};

const MEMORY_HANDLER: Handler = Data(memory::memory);
const MEMORY_SUBCOMMANDS: &[Spec] = rows! {
    "memory|doctor" 2 [] 0 0 0 Server "4.0.0" "Says where to look." MEMORY_HANDLER;
    "memory|help" 2 [LOADING STALE] 0 0 0 Server "4.0.0" "What MEMORY can do." MEMORY_HANDLER;
    "memory|malloc-stats" 2 [] 0 0 0 Server "4.0.0" "There are none." MEMORY_HANDLER;
    "memory|purge" 2 [] 0 0 0 Server "4.0.0" "Accepted." MEMORY_HANDLER;
    "memory|usage" -3 [READONLY] 2 2 1 Server "4.0.0" "About how many bytes a key and its value take." MEMORY_HANDLER;
};

const SLOWLOG_HANDLER: Handler = Connection(C::SlowLog);
const SLOWLOG_SUBCOMMANDS: &[Spec] = rows! {
    "slowlog|get" -2 [ADMIN LOADING STALE] 0 0 0 Server "2.2.12" "The latest of them." SLOWLOG_HANDLER;
    "slowlog|help" 2 [LOADING STALE] 0 0 0 Server "6.2.0" "What SLOWLOG can do." SLOWLOG_HANDLER;
    "slowlog|len" 2 [ADMIN LOADING STALE] 0 0 0 Server "2.2.12" "How many are kept." SLOWLOG_HANDLER;
    "slowlog|reset" 2 [ADMIN LOADING STALE] 0 0 0 Server "2.2.12" "Forgets them." SLOWLOG_HANDLER;
};

const LATENCY_HANDLER: Handler = Connection(C::Latency);
const LATENCY_SUBCOMMANDS: &[Spec] = rows! {
    "latency|doctor" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.13" "Says where to look." LATENCY_HANDLER;
    "latency|graph" 3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.13" "The samples of an event, as bars." LATENCY_HANDLER;
    "latency|help" 2 [LOADING STALE] 0 0 0 Server "2.8.13" "What LATENCY can do." LATENCY_HANDLER;
    "latency|histogram" -2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "7.0.0" "How long commands took, those that were measured." LATENCY_HANDLER;
    "latency|history" 3 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.13" "The samples of an event." LATENCY_HANDLER;
    "latency|latest" 2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.13" "The last sample of each event, and the longest." LATENCY_HANDLER;
    "latency|reset" -2 [ADMIN NOSCRIPT LOADING STALE] 0 0 0 Server "2.8.13" "Forgets samples." LATENCY_HANDLER;
};

const SCRIPT_HANDLER: Handler = Connection(C::Script);
const SCRIPT_SUBCOMMANDS: &[Spec] = rows! {
    "script|exists" -3 [NOSCRIPT] 0 0 0 Scripting "2.6.0" "Always 0." SCRIPT_HANDLER;
    "script|flush" -2 [NOSCRIPT] 0 0 0 Scripting "2.6.0" "Accepted." SCRIPT_HANDLER;
    "script|help" 2 [LOADING STALE] 0 0 0 Scripting "5.0.0" "What SCRIPT can do." SCRIPT_HANDLER;
    "script|kill" 2 [NOSCRIPT ALLOW_BUSY] 0 0 0 Scripting "2.6.0" "Refused: none is running." SCRIPT_HANDLER;
    "script|load" 3 [NOSCRIPT STALE] 0 0 0 Scripting "2.6.0" "Refused: there are no scripts." SCRIPT_HANDLER;
};

const FUNCTION_HANDLER: Handler = Connection(C::Function);
const FUNCTION_SUBCOMMANDS: &[Spec] = rows! {
    "function|flush" -2 [WRITE NOSCRIPT] 0 0 0 Scripting "7.0.0" "Accepted." FUNCTION_HANDLER;
    "function|help" 2 [LOADING STALE] 0 0 0 Scripting "7.0.0" "What FUNCTION can do." FUNCTION_HANDLER;
    "function|kill" 2 [NOSCRIPT ALLOW_BUSY] 0 0 0 Scripting "7.0.0" "Refused: none is running." FUNCTION_HANDLER;
    "function|list" -2 [NOSCRIPT] 0 0 0 Scripting "7.0.0" "Always empty." FUNCTION_HANDLER;
    "function|load" -3 [WRITE DENYOOM NOSCRIPT] 0 0 0 Scripting "7.0.0" "Refused: there are no functions." FUNCTION_HANDLER;
};

const CLUSTER_HANDLER: Handler = Connection(C::Cluster);
const CLUSTER_SUBCOMMANDS: &[Spec] = rows! {
    "cluster|help" 2 [LOADING STALE] 0 0 0 Cluster "5.0.0" "What CLUSTER can do." CLUSTER_HANDLER;
    "cluster|info" 2 [STALE] 0 0 0 Cluster "3.0.0" "Refused: not a Redis Cluster." CLUSTER_HANDLER;
    "cluster|myid" 2 [STALE] 0 0 0 Cluster "3.0.0" "Refused: not a Redis Cluster." CLUSTER_HANDLER;
};

const PUBSUB_HANDLER: Handler = Connection(C::PubSub);
const PUBSUB_SUBCOMMANDS: &[Spec] = rows! {
    "pubsub|channels" -2 [PUBSUB LOADING STALE] 0 0 0 PubSub "2.8.0" "The channels that somebody listens to." PUBSUB_HANDLER;
    "pubsub|help" 2 [LOADING STALE] 0 0 0 PubSub "6.2.0" "What PUBSUB can do." PUBSUB_HANDLER;
    "pubsub|numpat" 2 [PUBSUB LOADING STALE] 0 0 0 PubSub "2.8.0" "How many patterns somebody listens to." PUBSUB_HANDLER;
    "pubsub|numsub" -2 [PUBSUB LOADING STALE] 0 0 0 PubSub "2.8.0" "How many listen to channels." PUBSUB_HANDLER;
    "pubsub|shardchannels" -2 [PUBSUB LOADING STALE] 0 0 0 PubSub "7.0.0" "The shard channels that somebody listens to." PUBSUB_HANDLER;
    "pubsub|shardnumsub" -2 [PUBSUB LOADING STALE] 0 0 0 PubSub "7.0.0" "How many listen to shard channels." PUBSUB_HANDLER;
};
