//! The machine and the day, for the line above the table.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Bytes written before each sync, as in a small group commit.
const SYNC_BYTES: usize = 4096;
const SYNC_FOR: Duration = Duration::from_secs(1);
/// `f_type` of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// Processor, cores, kernel and disk, in one line.
///
/// # Errors
/// When the disk cannot be measured, or is none.
pub fn describe(folder: &Path) -> Result<String, String> {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim()).to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Whoever else works on the machine takes from all contenders, and not from all alike.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let sync = sync_ms(folder)?;
    let kernel = kernel.trim();
    Ok(format!("{model}, {cores} cores, Linux {kernel}, load before {load}, 4 KiB write + fdatasync p50 {sync:.3} ms"))
}

/// The median time of a small overwrite and its fdatasync, in milliseconds.
fn sync_ms(folder: &Path) -> Result<f64, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let kind = rustix::fs::statfs(folder).map_err(|error| fail(error.into()))?.f_type;
    if kind as i64 == TMPFS {
        return Err(format!(
            "{} is in memory, so nothing would be durable there: name a disk by --dir",
            folder.display()
        ));
    }
    let path = folder.join("sync-test");
    let mut file = File::create(&path).map_err(fail)?;
    file.write_all(&vec![0; SYNC_BYTES * 256]).and_then(|()| file.sync_all()).map_err(fail)?;
    let (mut times, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < SYNC_FOR {
        let start = Instant::now();
        let place = (times.len() % 256 * SYNC_BYTES) as u64;
        file.seek(SeekFrom::Start(place)).map_err(fail)?;
        file.write_all(&[1; SYNC_BYTES]).and_then(|()| file.sync_data()).map_err(fail)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(&path).map_err(fail)?;
    Ok(super::median(&times))
}

/// Today's date in UTC, as year-month-day.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil((seconds / 86_400) as i64);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970, by the calendar's own cycle of 400 years that begins in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
    }
}
