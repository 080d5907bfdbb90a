//! Which interfaces are recorded: chosen at the start, in the recorder's own
//! network namespace or in others, and looked after. And whose events belong to them.

use std::io;
use std::sync::Arc;

use tcprec_analyze::report::units;
use tcprec_shared::record::MissingHook;

use crate::kernel::{
    Changes, Device, LinkNews, MAX_NAMESPACES, Namespace, Watched, devices, index_of,
};
use crate::recorder::RecordError;

/// The interfaces that are to be recorded.
#[derive(Debug)]
pub(crate) struct Interfaces {
    namespaces: Arc<[Namespace]>,
    /// Whether other namespaces were asked for.
    is_elsewhere: bool,
    is_any: bool,
    /// Of any, those whose packets cannot be read.
    unknown: Vec<MissingHook>,
    watched: Watched,
    /// Of each namespace.
    news: Vec<LinkNews>,
}

impl Interfaces {
    /// Those of these names, or all where there is none or one is `any`; in
    /// these namespaces, or where there is none in the recorder's own.
    ///
    /// # Errors
    /// There is no such namespace or interface, or it cannot be recorded.
    pub(crate) fn choose(names: &[String], namespaces: &[String]) -> Result<Self, RecordError> {
        let is_elsewhere = !namespaces.is_empty();
        let namespaces = open(namespaces)?;
        let is_any = names.is_empty() || names.iter().any(|name| name == "any");
        // Before the first look, so that nothing happens between.
        let news = namespaces.iter().map(LinkNews::open);
        let news = news.collect::<io::Result<_>>()?;
        let all = all_devices(&namespaces)?;
        let mut unknown = Vec::new();
        let chosen = if is_any {
            let (known, others): (_, Vec<Device>) =
                all.into_iter().partition(|device| device.layer.is_ok());
            unknown.extend(others.iter().filter_map(|device| {
                Some(MissingHook {
                    hook: format!("packets of {}", called(&namespaces, device)),
                    reason: unknown_header(device)?,
                })
            }));
            known
        } else {
            named(names, &all, &namespaces)?
        };
        let names = if is_any {
            Vec::new()
        } else {
            chosen.iter().map(|device| device.name.clone()).collect()
        };
        Ok(Self {
            namespaces,
            is_elsewhere,
            is_any,
            unknown,
            watched: Watched::new(names, chosen),
            news,
        })
    }

    /// Of any, those that could not be recorded from the beginning on, and why.
    pub(crate) fn unknown(&self) -> &[MissingHook] {
        &self.unknown
    }

    /// Those that were there at the last look and were not left out.
    pub(crate) fn present(&self) -> &[Device] {
        self.watched.present()
    }

    /// Tells that one that came could not be recorded: it comes again at the next look.
    /// Whether this is the first time.
    pub(crate) fn leave_out(&mut self, device: Device) -> bool {
        self.watched.leave_out(device)
    }

    /// What an interface is called where those of several namespaces are: each has a `lo`.
    pub(crate) fn called(&self, device: &Device) -> String {
        called(&self.namespaces, device)
    }

    /// The namespaces that they are in.
    pub(crate) fn namespaces(&self) -> Arc<[Namespace]> {
        Arc::clone(&self.namespaces)
    }

    /// The namespaces whose events are recorded; empty: all. Among all
    /// interfaces of a host are those that lead to its containers, whose
    /// sockets are in namespaces of their own.
    pub(crate) fn events_of(&self) -> Vec<u32> {
        if self.is_any && !self.is_elsewhere {
            return Vec::new();
        }
        self.namespaces.iter().map(Namespace::inode).collect()
    }

    /// What tells that it is time to look again.
    pub(crate) fn news(&self) -> &[LinkNews] {
        &self.news
    }

    /// Whether anything happened since it was asked last.
    pub(crate) fn take_news(&self) -> bool {
        let take = |is_any, news: &LinkNews| news.take() || is_any;
        self.news.iter().fold(false, take)
    }

    /// Looks which interfaces came and which are gone; `has_lost` says of one whether
    /// the recorder's hold on it is.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn look(
        &mut self,
        has_lost: impl Fn(&Device) -> io::Result<bool>,
    ) -> io::Result<Changes> {
        let mut lost = Vec::new();
        for device in self.present() {
            if has_lost(device)? {
                lost.push(device.clone());
            }
        }
        // Asked for after it: an interface that was replaced in between is lost at the
        // next look.
        let devices = all_devices(&self.namespaces)?;
        Ok(self.watched.look(devices, &lost))
    }
}

/// All interfaces of these namespaces, or where there is none of the recorder's own,
/// and what they are called.
///
/// # Errors
/// There is no such namespace, or it cannot be entered.
pub(crate) fn list(namespaces: &[String]) -> Result<Vec<(Device, String)>, RecordError> {
    let namespaces = open(namespaces)?;
    let devices = all_devices(&namespaces)?.into_iter();
    let with_name = |device| {
        let name = called(&namespaces, &device);
        (device, name)
    };
    Ok(devices.map(with_name).collect())
}

/// Who may make interfaces in a container chooses their names, control characters too.
fn called(namespaces: &[Namespace], device: &Device) -> String {
    let name = units::clean(&device.name);
    let is_its = |namespace: &&Namespace| namespace.inode() == device.netns;
    match namespaces.iter().find(is_its) {
        Some(namespace) if namespaces.len() > 1 => {
            format!("{name} of {}", namespace.name())
        }
        _ => name.into_owned(),
    }
}

fn open(names: &[String]) -> Result<Arc<[Namespace]>, RecordError> {
    if names.is_empty() {
        return Ok(Arc::new([Namespace::own()?]));
    }
    if names.len() > MAX_NAMESPACES {
        return Err(RecordError::Usage(format!(
            "at most {MAX_NAMESPACES} network namespaces can be recorded at once"
        )));
    }
    let mut namespaces: Vec<Namespace> = Vec::new();
    for name in names {
        let namespace = Namespace::open(name).map_err(|error| {
            RecordError::Usage(match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "there is no network namespace {name}: give a name of `ip netns`, the pid of \
                     a process inside, or a path such as /proc/PID/ns/net"
                ),
                _ => format!("cannot enter the network namespace {name}: {error}"),
            })
        })?;
        if namespaces.iter().all(|n| n.inode() != namespace.inode()) {
            namespaces.push(namespace);
        }
    }
    Ok(namespaces.into())
}

fn all_devices(namespaces: &[Namespace]) -> io::Result<Vec<Device>> {
    let mut all = Vec::new();
    for namespace in namespaces {
        all.extend(devices(namespace)?);
    }
    Ok(all)
}

/// Why the packets of an interface cannot be read, if they cannot.
fn unknown_header(device: &Device) -> Option<String> {
    let hardware = device.layer.err()?;
    Some(format!(
        "its packets begin with a link header that tcprec does not know (ARPHRD {hardware})"
    ))
}

/// The interfaces of these names, each at least in one of the namespaces.
fn named(
    names: &[String],
    all: &[Device],
    namespaces: &[Namespace],
) -> Result<Vec<Device>, RecordError> {
    let mut chosen: Vec<Device> = Vec::new();
    for name in names {
        // Names, or as with tcpdump the numbers that -D shows.
        let number = name.parse().ok();
        let number = number.filter(|_| all.iter().all(|device| device.name != *name));
        let is_it = |device: &&Device| device.name == *name || Some(device.index) == number;
        let mut of_name: Vec<_> = all.iter().filter(is_it).collect();
        if of_name.is_empty() {
            for namespace in namespaces {
                let index = index_of(namespace, name)?;
                of_name.extend(all.iter().filter(|device| {
                    device.netns == namespace.inode() && Some(device.index) == index
                }));
            }
        }
        if of_name.is_empty() {
            let mut known: Vec<_> = all.iter().map(|it| units::clean(&it.name)).collect();
            known.sort_unstable();
            known.dedup();
            return Err(RecordError::Usage(format!(
                "there is no interface {name}; there are {} and any",
                known.join(", ")
            )));
        }
        for device in of_name {
            if let Some(why) = unknown_header(device) {
                return Err(RecordError::Usage(format!(
                    "{name} cannot be recorded: {why}"
                )));
            }
            if !chosen.iter().any(|known| known.is(device)) {
                chosen.push(device.clone());
            }
        }
    }
    Ok(chosen)
}
