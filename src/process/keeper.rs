//! The keeper: one small process per tree that forks, reaps and, in the end, kills all the others.
//!
//! It is the foster parent of every orphan below it, so nothing that a process of the tree starts
//! gets out of its sight, however it is started. It stands and falls with the program: it ends the
//! tree when the program is gone (told by a socket and by a pidfd), or the server.
//!
//! Should the keeper itself be killed, its parent ends the tree: the guard, a fork of it that does
//! nothing else, and is the next foster parent of whatever the keeper leaves. The loss of the guard
//! does no harm.

use super::launch::{Kind, Launch, LaunchError, launch};
use super::memory::Kills;
use super::overtime::Overtime;
use super::page::{Page, Told};
use super::remains::Estate;
use super::role::{self, Role, TREE_VARIABLE, ToProgram};
use super::stage::{self, Stage};
use super::sweep::{self, END_PATIENCE, Seen, Spare, drain, end_all_below};
use super::sys::{self, Pid, SignalMask};
use super::upstream::{Own, Upstream};
use crate::proto::codec::{self, Malformed};
use crate::proto::frame::{self, Outbox};
use crate::proto::ids::{ProcessId, Token};
use crate::proto::keeper::{Effect, Keeper as Machine, Reaped};
use crate::proto::message::FromKeeper;
use crate::proto::time::Time;
use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the program is sent its last signal, and how long it may take each time to die of it: it
/// may be stopped, or hold it back.
const LAST_SIGNALS: u32 = 5;
const LAST_SIGNAL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the keeper may outlive the program before the guard takes over.
const KEEPER_PATIENCE: Duration = Duration::from_secs(10);

/// What the keeper is started with.
pub(crate) struct Start {
    pub(crate) tree: String,
    pub(crate) upstream: Upstream,
    pub(crate) lifeline: OwnedFd,
    pub(crate) program: OwnedFd,
    /// The page that tells of the server's end.
    pub(crate) page: OwnedFd,
    /// Rung when the program is asked to end, and never heard out: it is readable from then on.
    pub(crate) stop_bell: OwnedFd,
    /// What ends the program when it was asked and the grace is over; zero: nothing does.
    pub(crate) last_signal: i32,
    /// How long the tree may take to end when the program is asked to.
    pub(crate) grace: Duration,
    /// The program's standard input.
    pub(crate) stdin: OwnedFd,
}

/// Runs the keeper until the tree has ended.
pub(crate) fn main(start: Start) -> ! {
    guard(&start);
    #[cfg(feature = "recording")]
    super::record::begin(super::record::Who::Keeper);
    let keeper = Keeper::start(&start);
    let lifeline = UnixStream::from(start.lifeline);
    let keeper = keeper.map(|mut keeper| {
        let socket = keeper.socket.as_os_str().as_bytes();
        say(&lifeline, &ToProgram::Ready { socket });
        keeper.run(&lifeline, &start.program, &start.stop_bell);
        keeper.spare = Spare::default();
        keeper
    });
    if let Err(error) = &keeper {
        let what = error.to_string();
        say(&lifeline, &ToProgram::Failed { what: &what });
    }
    // With the link to the server still open, or the server would begin to end the tree as well, or
    // take for dead who is not.
    end_all_below();
    start.upstream.remove_at_end();
    // The lifeline, the lock and the link close with the process: that is the program's sign.
    sys::exit_now(i32::from(keeper.is_err()))
}

/// Puts a guard behind the keeper; it is the keeper that comes back.
fn guard(start: &Start) {
    // If it can't be had, there is none: then the server ends the tree when the keeper is lost, as
    // far as its mark can be seen.
    let Ok(Some(keeper)) = sys::become_subreaper().and_then(|()| sys::fork()) else {
        return;
    };
    sys::set_thread_name(c"zproc-guard");
    let page = Page::map(start.page.as_fd());
    // Its copy of the lifeline keeps the program waiting until it is through.
    sys::close_strangers(&[
        start.lifeline.as_raw_fd(),
        start.upstream.lock().map_or(-1, AsRawFd::as_raw_fd),
        start.program.as_raw_fd(),
        start.stop_bell.as_raw_fd(),
    ]);
    see_it_end(keeper, &start.program);
    let status = sys::wait_for(keeper);
    if let Ok(page) = page
        && status != Some(0)
    {
        // Before the server ends, or who loses it would not know why.
        page.tell(Told::KeeperLost);
    }
    end_all_below();
    start.upstream.remove_at_end();
    sys::exit_now(0)
}

/// Kills a keeper that hangs (it was stopped, or the file system that the executable is on does not
/// answer) when the program has ended.
fn see_it_end(keeper: Pid, program: &OwnedFd) {
    let Ok(end) = sys::pidfd_open(keeper) else {
        return;
    };
    let (program, keeper_fd) = (Some((program.as_fd(), false)), Some((end.as_fd(), false)));
    let polled = sys::poll([program, keeper_fd], None);
    if polled.is_ok_and(|[_, keeper]| keeper.readable) {
        return;
    }
    let polled = sys::poll([keeper_fd], Some(KEEPER_PATIENCE));
    if !polled.is_ok_and(|[keeper]| keeper.readable) {
        sys::signal_child(keeper, libc::SIGKILL);
    }
}

fn say(lifeline: &UnixStream, message: &ToProgram<'_>) {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    // If nobody is there to hear it, the pidfd says so as well.
    let _ = (&mut &*lifeline).write_all(&bytes);
}

struct Keeper {
    /// What it knows and decides.
    machine: Machine,
    tree: String,
    socket: PathBuf,
    /// The arguments of the program, its name not counted: user code sees them in a child too.
    arguments: Vec<CString>,
    /// The environment of the program when it made the tree, but our own variables.
    environment: Vec<CString>,
    /// [`TREE_VARIABLE`] of the keeper itself, that of each process begins so.
    mark: String,
    /// The program's standard input, for processes that are to read it.
    stdin: OwnedFd,
    /// How many descriptors the program may have, and so its processes.
    descriptors: Option<libc::rlimit>,
    /// What the processes have to leave.
    estate: Estate,
    memory: Kills,
    link: UnixStream,
    inbox: Vec<u8>,
    outbox: Outbox,
    deaths: OwnedFd,
    /// The page, as each process of the tree gets it.
    page: OwnedFd,
    overtime: Overtime,
    spare: Spare,
    /// The program, and the signal that ends it.
    program: OwnedFd,
    last_signal: i32,
    begin: Instant,
}

impl Keeper {
    fn start(start: &Start) -> io::Result<Keeper> {
        let tree = &start.tree;
        let spare = Spare::new();
        sys::become_subreaper()?;
        let deaths = sys::child_signals()?;
        let page = start.page.try_clone()?;
        let function_time_max = start.upstream.function_time_max();
        let overtime = Overtime::new(Page::map(page.as_fd())?, function_time_max)?;
        let (link, far_link) = start.upstream.link()?;
        link.set_nonblocking(true)?;
        let mark = std::env::var(TREE_VARIABLE).unwrap_or_else(|_| tree.to_string());
        let arguments = std::env::args_os().skip(1);
        let mut keeper = Keeper {
            machine: Machine::new(None, start.grace),
            tree: tree.to_string(),
            socket: start.upstream.socket(),
            arguments: arguments
                .filter_map(|argument| CString::new(argument.into_vec()).ok())
                .collect(),
            environment: environment(),
            mark,
            stdin: start.stdin.try_clone()?,
            // Each process needs one of ours, or some.
            descriptors: sys::raise_descriptor_limit(),
            estate: Estate::new()?,
            memory: Kills::new(),
            link,
            inbox: Vec::new(),
            outbox: Outbox::default(),
            deaths,
            page,
            overtime,
            spare,
            program: start.program.try_clone()?,
            last_signal: start.last_signal,
            begin: Instant::now(),
        };
        if let (Upstream::Own(own), Some(far_link)) = (&start.upstream, far_link) {
            let server = keeper.start_server(own, &far_link)?;
            keeper.machine = Machine::new(Some(server.unsigned_abs()), start.grace);
        }
        // Our copies of the server's ends close here, so that its end shows.
        Ok(keeper)
    }

    fn start_server(&mut self, own: &Own, far_link: &UnixStream) -> io::Result<Pid> {
        let listener = UnixListener::bind(&self.socket)?;
        let (page, bell) = (self.page.as_raw_fd(), self.overtime.bell().as_raw_fd());
        let tree = self.tree.clone();
        let role = Role::Server {
            tree: &tree,
            directory: own.directory.as_os_str().as_bytes(),
            key: own.key,
            link: far_link.as_raw_fd(),
            listener: listener.as_raw_fd(),
            lock: own.lock.as_raw_fd(),
            page,
            bell,
            limits: own.limits,
            functions: own.functions,
        };
        let inherit = [
            far_link.as_raw_fd(),
            listener.as_raw_fd(),
            own.lock.as_raw_fd(),
            page,
            bell,
        ];
        let mark = self.mark.clone();
        let (kind, stage) = (Kind::Lasting, Stage::default());
        self.launch(kind, "zproc-server", &mark, &role, &inherit, stage)
            .map_err(|error| io::Error::other(format!("the server: {error}")))
    }

    /// The server's number, if it is a process of the tree.
    fn server(&self) -> Option<Pid> {
        self.machine.server().map(u32::cast_signed)
    }

    /// Until the program or the server is gone, or the tree has ended in good order.
    fn run(&mut self, lifeline: &UnixStream, program: &OwnedFd, stop_bell: &OwnedFd) {
        // What says the same again and again is not asked twice.
        let (mut lifeline, mut stop_bell) = (Some(lifeline), Some(stop_bell));
        loop {
            let waits_to_write = !self.outbox.is_empty();
            let polled = sys::poll(
                [
                    lifeline.map(|lifeline| (lifeline.as_fd(), false)),
                    Some((program.as_fd(), false)),
                    stop_bell.map(|bell| (bell.as_fd(), false)),
                    Some((self.deaths.as_fd(), false)),
                    Some((self.link.as_fd(), waits_to_write)),
                    Some((self.overtime.bell(), false)),
                    Some((self.estate.as_fd(), false)),
                ],
                self.timeout(),
            );
            // Without poll there is nothing that a keeper could do for its tree.
            let Ok(polled) = polled else {
                return;
            };
            let [
                lifeline_says,
                program_is_gone,
                is_asked,
                deaths,
                linked,
                bell,
                streams,
            ] = polled.map(|polled| polled.readable);
            if bell {
                self.overtime.rung();
            }
            self.overtime.look(self.server());
            let lets_go = lifeline_says && lifeline.is_some_and(has_ended);
            self.hear_program(program_is_gone, is_asked, lets_go);
            lifeline = lifeline.filter(|_| !lets_go);
            stop_bell = stop_bell.filter(|_| !is_asked);
            if deaths && self.carry_out() {
                self.bury();
            }
            if streams {
                self.estate.read();
            }
            // Behind the burials: who has ended in time is not killed.
            let now = self.now();
            self.machine.tick(now);
            if linked
                && self.carry_out()
                && let Err(Malformed(what)) = self.listen()
            {
                // This is a bug of ours; the tree ends, and says why.
                eprintln!("zproc-keeper: the server sent nonsense: {what}");
                self.end_server();
            }
            if self.carry_out() {
                self.flush();
            }
            if !self.carry_out() {
                return;
            }
            #[cfg(feature = "recording")]
            if let Some(server) = self.server() {
                super::record::told(server);
            }
        }
    }

    /// What has become of the program since it was heard of last.
    fn hear_program(&mut self, is_gone: bool, is_asked: bool, lets_go: bool) {
        if is_gone {
            self.machine.program_lost();
        }
        if is_asked {
            self.machine.program_asked(self.now());
        }
        // Behind the bell, which it had heard before it let go.
        if lets_go {
            self.machine.program_let_go();
        }
    }

    /// The machine's clock. Time in which the computer was suspended does not count.
    fn now(&self) -> Time {
        Time::default().after(self.begin.elapsed())
    }

    /// How long there is nothing to do unless somebody says so.
    fn timeout(&self) -> Option<Duration> {
        let deadline = self.machine.deadline();
        let due = deadline.map(|deadline| deadline.since(self.now()));
        due.into_iter().chain(self.overtime.timeout()).min()
    }

    /// Does what the machine wants; false when the tree is to end.
    fn carry_out(&mut self) -> bool {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Fork {
                    process,
                    key,
                    name,
                    setup,
                } => self.spawn(process, key, &name, &setup),
                Effect::Ask { pid, .. } => sys::signal_child(pid.cast_signed(), libc::SIGTERM),
                Effect::Kill { pid, process } => self.kill(pid.cast_signed(), process),
                Effect::KillLeft { pid, process } => {
                    self.kill_left_by(pid.cast_signed(), process);
                }
                Effect::EndProgram => self.end_program(),
                Effect::Tell(message) => self.tell(message),
                Effect::End => {}
            }
        }
        !self.machine.has_ended()
    }

    /// Sends the program the signal that ends it, and sees it end: else it might hear of the end of
    /// its tree first, and end by itself.
    fn end_program(&self) {
        let program = self.program.as_fd();
        if self.last_signal == 0 {
            return;
        }
        for _ in 0..LAST_SIGNALS {
            // Failing means that it is gone. One that comes right behind the first is none.
            let sent = sys::pidfd_signal(program, self.last_signal);
            let polled = sys::poll([Some((program, false))], Some(LAST_SIGNAL_INTERVAL));
            if sent.is_err() || polled.is_ok_and(|[program]| program.readable) {
                return;
            }
        }
    }

    /// Tells the server, with what there is to add.
    fn tell(&mut self, message: FromKeeper<'static>) {
        // As short-lived as what is added.
        let mut message: FromKeeper<'_> = message;
        let found;
        if let FromKeeper::Ended {
            process,
            status,
            why,
            left,
            ..
        } = &mut message
        {
            found = self.estate.take(*process);
            let by_sigkill = libc::WIFSIGNALED(*status) && libc::WTERMSIG(*status) == libc::SIGKILL;
            let out_of_memory = by_sigkill && why.is_none() && self.memory.claim(*process);
            *left = found.as_message(out_of_memory);
        }
        self.outbox.push(&message);
    }

    /// Reaps who has ended.
    fn bury(&mut self) {
        drain(&self.deaths);
        // Fails when there is nobody left to reap, which the server's end rules out.
        while let Ok(Some(reaped)) = sys::reap() {
            self.memory.look(Instant::now());
            #[cfg(feature = "recording")]
            if let Some(process) = self.machine.process(reaped.pid.unsigned_abs()) {
                super::record::died(process, reaped.status);
            }
            if self.server() == Some(reaped.pid) {
                self.overtime.tell(reaped.status);
            }
            self.machine.reaped(Reaped {
                pid: reaped.pid.unsigned_abs(),
                status: reaped.status,
                cpu_user_ns: reaped.cpu_user_ns,
                cpu_system_ns: reaped.cpu_system_ns,
                memory_bytes_max: reaped.memory_bytes_max,
            });
            // Before the next, which may be who has the number by then.
            if !self.carry_out() {
                return;
            }
        }
    }

    /// There is no speaking with the server any more. Mostly it has ended, and will be reaped in a
    /// moment; how it ended is to be known before the tree ends.
    fn end_server(&mut self) {
        if let Some(server) = self.server() {
            sys::signal_child(server, libc::SIGKILL);
            if let Some(status) = sys::wait_within(server, self.deaths.as_fd(), END_PATIENCE) {
                self.overtime.tell(status);
            }
        } else {
            self.overtime.tell_unseen();
        }
        self.machine.server_lost();
    }

    /// Reads what the server wants, and does it.
    fn listen(&mut self) -> Result<(), Malformed> {
        let mut buffer = [0; 16 * 1024];
        let count = match (&self.link).read(&mut buffer) {
            Ok(count) if count > 0 => count,
            Err(error) if is_passing(&error) => return Ok(()),
            Ok(_) | Err(_) => {
                self.end_server();
                return Ok(());
            }
        };
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(&buffer[..count]);
        let mut consumed = 0;
        while let Some((payload, length)) = frame::split(&inbox[consumed..])? {
            let now = self.now();
            self.machine.asked(&codec::decode(payload)?, now);
            if !self.carry_out() {
                break;
            }
            consumed += length;
        }
        inbox.drain(..consumed);
        self.inbox = inbox;
        Ok(())
    }

    /// Sends what there is room for.
    fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match (&self.link).write(self.outbox.pending()) {
                Ok(count) => self.outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !is_passing(&error) {
                        self.end_server();
                    }
                    return;
                }
            }
        }
    }

    fn spawn(&mut self, process: ProcessId, key: Token, name: &str, setup: &[u8]) {
        let setup = codec::decode(setup).expect("the machine has encoded it");
        self.memory.starts(process, Instant::now());
        let stdin = self.stdin.as_raw_fd();
        let mut stage = stage::prepare(&setup, &self.environment, stdin, self.descriptors);
        let inherited = match self.estate.open(process, &setup, &mut stage) {
            Ok(inherited) => inherited,
            Err(LaunchError { call, errno }) => {
                return self.machine.not_forked(process, call, errno);
            }
        };
        let words = inherited.words.as_raw_fd();
        let socket = self.socket.clone();
        let name = role::short(name);
        let page = self.page.as_raw_fd();
        let role = Role::Child {
            socket: socket.as_os_str().as_bytes(),
            process,
            key,
            name,
            page,
            words,
            outset_bytes: inherited.outset_bytes,
        };
        let mark = format!("{}/{}", self.mark, process.0);
        match self.launch(Kind::Bound, name, &mark, &role, &[page, words], stage) {
            Ok(pid) => self.machine.forked(process, pid.unsigned_abs(), self.now()),
            Err(LaunchError { call, errno }) => {
                self.estate.take(process);
                self.machine.not_forked(process, call, errno);
            }
        }
    }

    fn launch(
        &mut self,
        kind: Kind,
        name: &str,
        mark: &str,
        role: &Role<'_>,
        inherit: &[RawFd],
        mut stage: Stage,
    ) -> Result<Pid, LaunchError> {
        let packed = role::pack(role).map_err(|error| LaunchError {
            call: "pipe",
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })?;
        let mut inherit = inherit.to_vec();
        inherit.push(packed.pipe.as_raw_fd());
        let mut arguments = vec![CString::new(name).unwrap_or_default()];
        arguments.extend(self.arguments.iter().cloned());
        let mark = CString::new(format!("{TREE_VARIABLE}={mark}"))
            .expect("a mark came from the environment, where no string has a zero in it");
        let environment = stage.environment.as_mut().unwrap_or(&mut self.environment);
        let own = environment.len();
        environment.extend([packed.variable, mark]);
        let result = launch(&Launch {
            kind,
            arguments: &arguments,
            environment,
            inherit: &inherit,
            changes: &stage.changes,
        });
        environment.truncate(own);
        result
    }

    /// Kills a process and all it has started.
    fn kill(&mut self, root: Pid, process: ProcessId) {
        self.with_spare(|keeper| {
            sweep::kill_all(|| {
                let all = sweep::census();
                let mut targets = sweep::below(&all, &[root]);
                targets.extend(all.iter().filter(|seen| seen.pid == root));
                targets.extend(keeper.left_by(&all, root, process));
                targets
            });
        });
        // Whatever the sweep could see: then what it has missed is looked for when this one is reaped.
        sys::signal_child(root, libc::SIGKILL);
    }

    /// Kills what a process has left behind that we can tell was its.
    fn kill_left_by(&mut self, root: Pid, process: ProcessId) {
        self.with_spare(|keeper| keeper.sweep_left_by(root, process));
    }

    /// Sweeps with the descriptors that are kept for that.
    fn with_spare(&mut self, sweep: impl FnOnce(&Keeper)) {
        self.spare = Spare::default();
        sweep(self);
        self.spare = Spare::new();
    }

    fn sweep_left_by(&self, root: Pid, process: ProcessId) {
        // Mostly there is nothing, which costs one small read.
        let is_known = |pid: &Pid| self.machine.knows(pid.unsigned_abs());
        if sweep::children(sys::pid()).iter().all(is_known) {
            return;
        }
        sweep::kill_all(|| self.left_by(&sweep::census(), root, process));
    }

    /// The orphans of a process, and all below them. Told by its process group, its session and its
    /// mark: one that has shed all three lives until the tree ends.
    fn left_by(&self, all: &[Seen], root: Pid, process: ProcessId) -> Vec<Seen> {
        let own = sys::pid();
        let orphans: Vec<Seen> = all
            .iter()
            .filter(|seen| {
                seen.parent == own
                    && !self.machine.knows(seen.pid.unsigned_abs())
                    && (seen.group == root
                        || seen.session == root
                        || sweep::bears_mark(seen.pid, &self.tree, Some(process)))
            })
            .copied()
            .collect();
        let roots: Vec<Pid> = orphans.iter().map(|seen| seen.pid).collect();
        let mut found = sweep::below(all, &roots);
        found.extend(orphans);
        found
    }
}

/// The environment of this process without what is ours in it.
pub(crate) fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter(|(name, _)| name != role::ENTRY_VARIABLE && name != TREE_VARIABLE)
        .filter_map(|(name, value)| {
            let mut variable = name.into_vec();
            variable.push(b'=');
            variable.extend_from_slice(value.as_bytes());
            CString::new(variable).ok()
        })
        .collect()
}

/// Nothing has happened; it may later.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Reads from a socket that is readable; true at its end. What is said on it does not matter.
fn has_ended(socket: &UnixStream) -> bool {
    match (&mut &*socket).read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => !is_passing(&error),
    }
}

/// Makes this process fit to be a keeper: deaf to signals, and with the actions that its children
/// are to begin with. Gives the standard input that it had.
pub(crate) fn settle() -> Option<OwnedFd> {
    SignalMask::ALL.set();
    sys::reset_dispositions();
    sys::settle_stdio(false);
    let stdin = sys::duplicate_stdin();
    sys::settle_stdio(true);
    sys::set_thread_name(c"zproc-keeper");
    stdin
}
