//! How much memory this process may have: that of the machine, or of its control group where that is less. Linux alone says so.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::c_int;
use std::fs;
use std::path::Path;

/// From so many bytes on, a piece of memory is large: more than what Kafka's client decompresses time and again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: c_int = 2 << 20;

/// Bytes; 0 where nobody says.
pub fn memory() -> u64 {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let machine = total(&read(Path::new("/proc/meminfo")));
    let groups = limits(&read(Path::new("/proc/self/cgroup")), &read);
    machine.into_iter().chain(groups).min().unwrap_or(0)
}

/// Has large pieces of memory given back to the machine as soon as they are free. Of its own accord the C library keeps pieces of
/// up to 32 MiB for later, in each thread's store, so that a process that bounds what it holds would still grow.
pub fn give_memory_back() {
    /// The parameter of `mallopt` from which size on a piece is asked of the machine by itself.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const M_MMAP_THRESHOLD: c_int = -3;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: it takes two numbers and has no other condition. A parameter that it does not know it refuses, and then
        // memory is kept for longer.
        unsafe { mallopt(M_MMAP_THRESHOLD, LARGE) };
    }
}

/// Has what is free be given back to the machine, when the process has grown by so much since it last was. The C library keeps
/// small pieces in the store of each thread that asked for them, and what many threads once held together stays with each.
pub struct Tidier {
    growth: u64,
    /// The least that was resident since then.
    least: u64,
}

impl Tidier {
    /// After so many bytes of growth.
    pub fn new(growth: u64) -> Self {
        Tidier { growth, least: u64::MAX }
    }

    /// Looks how much is resident, and gives back what is free if that is time.
    pub fn look(&mut self) {
        let resident = || resident(&fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or(0);
        if self.is_time(resident()) {
            give_back_what_is_free();
            self.least = resident();
        }
    }

    fn is_time(&mut self, resident: u64) -> bool {
        self.least = self.least.min(resident);
        resident - self.least >= self.growth
    }
}

fn give_back_what_is_free() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        unsafe extern "C" {
            fn malloc_trim(left: usize) -> c_int;
        }
        // SAFETY: it takes a number, looks at what is free under the locks of the allocator, and has no other condition.
        unsafe { malloc_trim(0) };
    }
}

/// What `/proc/self/status` says that is resident, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What `/proc/meminfo` says that there is.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The limits of the groups that a process is in, and of those around them, by what `/proc/self/cgroup` says.
fn limits(groups: &str, read: &dyn Fn(&Path) -> String) -> Vec<u64> {
    let mut found = Vec::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            all if all.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container, what is named here may be the path outside of it; its own limit then stands at the root.
        let inner = Path::new(path.trim_start_matches('/'));
        let around = inner.ancestors().map(|folder| Path::new(root).join(folder).join(file));
        // Without a limit there is a word, or a number larger than any machine.
        found.extend(around.filter_map(|file| read(&file).trim().parse::<u64>().ok()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_there_is() {
        let meminfo = "MemTotal:       24103268 kB\nMemFree:        13000000 kB\n";
        assert_eq!(total(meminfo), Some(24_103_268 << 10));
        assert_eq!(total("MemFree: 3 kB\n"), None);
        assert_eq!(total("MemTotal: much\n"), None);
    }

    #[test]
    fn it_is_time_to_give_back_what_is_free_after_a_growth() {
        assert_eq!(resident("VmHWM:\t  9 kB\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        let mut tidier = Tidier::new(10);
        for (resident, expected) in [(100, false), (109, false), (95, false), (104, false), (105, true), (200, true)] {
            assert_eq!(tidier.is_time(resident), expected, "{resident}");
        }
    }

    #[test]
    fn the_nearest_limit_counts_and_none_is_none() {
        let files = |path: &Path| -> String {
            match path.to_str().unwrap_or_default() {
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "536870912\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "1073741824\n",
                _ => "",
            }
            .to_owned()
        };
        assert_eq!(limits("0::/a/b\n", &files), [536_870_912]);
        assert_eq!(limits("0::/\n", &files), Vec::<u64>::new());
        assert_eq!(limits("7:cpu,memory:/docker/outside\n3:pids:/x\n", &files), [1_073_741_824]);
        assert_eq!(limits("nonsense\n", &files), Vec::<u64>::new());
    }
}
