//! What a phase cost: processor time and memory of every process that took part.

use serde::Serialize;

use crate::procfs::{self, Memory};
use crate::stats::rounded;

/// The processes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pids {
    /// The platform: all services and the database.
    pub(crate) slipstream: u32,
    /// Its nats-server.
    pub(crate) broker: u32,
    /// This process.
    pub(crate) driver: u32,
    /// The receiver.
    pub(crate) receiver: u32,
}

impl Pids {
    const fn all(self) -> [u32; 4] {
        [self.slipstream, self.broker, self.driver, self.receiver]
    }
}

/// What one process used in a window of time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Used {
    /// Processor time, user and kernel.
    pub(crate) cpu_seconds: f64,
    /// At the end, and the most in the window.
    #[serde(flatten)]
    pub(crate) memory: Memory,
}

/// What the processes used in a window of time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Resources {
    /// The platform.
    pub(crate) slipstream: Used,
    /// Its nats-server.
    pub(crate) nats_server: Used,
    /// The driver: not ours to count.
    pub(crate) driver: Used,
    /// The receiver: not ours to count.
    pub(crate) receiver: Used,
}

impl Resources {
    /// Processor time of platform and broker.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.slipstream.cpu_seconds + self.nats_server.cpu_seconds
    }

    /// The same for each of `count` things, in milliseconds.
    pub(crate) fn cpu_ms_per(&self, count: usize) -> f64 {
        if count == 0 { 0.0 } else { rounded(self.cpu_seconds() * 1e3 / count as f64, 4) }
    }

    /// Resident memory of platform and broker at the end, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        rounded(self.slipstream.memory.resident_mib + self.nats_server.memory.resident_mib, 1)
    }

    /// The sum of the two peaks, in MiB; they need not have come together.
    pub(crate) fn peak_mib(&self) -> f64 {
        rounded(self.slipstream.memory.peak_mib + self.nats_server.memory.peak_mib, 1)
    }
}

/// A window that has begun.
#[derive(Debug)]
pub(crate) struct Window {
    pids: Pids,
    cpu_before: [f64; 4],
}

impl Window {
    /// Begins a window: peaks start anew.
    ///
    /// # Errors
    /// If a process is gone.
    pub(crate) fn begin(pids: Pids) -> anyhow::Result<Self> {
        pids.all().into_iter().for_each(procfs::reset_peak);
        Ok(Self { pids, cpu_before: cpu_seconds(pids)? })
    }

    /// Ends it.
    ///
    /// # Errors
    /// If a process is gone.
    pub(crate) fn end(self) -> anyhow::Result<Resources> {
        let cpu_after = cpu_seconds(self.pids)?;
        let mut used = Vec::with_capacity(4);
        for (index, pid) in self.pids.all().into_iter().enumerate() {
            let cpu_seconds = rounded(cpu_after[index] - self.cpu_before[index], 2);
            used.push(Used { cpu_seconds, memory: procfs::memory(pid)? });
        }
        Ok(Resources { slipstream: used[0], nats_server: used[1], driver: used[2], receiver: used[3] })
    }
}

fn cpu_seconds(pids: Pids) -> anyhow::Result<[f64; 4]> {
    let mut seconds = [0.0; 4];
    for (place, pid) in seconds.iter_mut().zip(pids.all()) {
        *place = procfs::cpu_seconds(pid)?;
    }
    Ok(seconds)
}
