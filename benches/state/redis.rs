//! Redis on a socket of its own, and as much of its protocol as is needed.

use crate::Failure;
use crate::tree::key;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Redis {
    server: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    /// `None`: it is not installed here.
    pub(crate) fn start() -> Result<Option<Redis>, Failure> {
        let directory = tempfile::tempdir()?;
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(directory.path().join("socket"))
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = server else {
            println!("(redis-server is not installed: no figures of it)");
            return Ok(None);
        };
        let redis = Redis { server, directory };
        for _ in 0..500 {
            if redis.connect().is_ok() {
                return Ok(Some(redis));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("redis-server does not listen".into())
    }

    pub(crate) fn process(&self) -> u32 {
        self.server.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn connect(&self) -> Result<Peer, Failure> {
        Peer::to(&self.socket())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// One connection to it.
pub(crate) struct Peer {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Peer {
    pub(crate) fn to(socket: &Path) -> Result<Peer, Failure> {
        let stream = UnixStream::connect(socket)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Peer { stream, reader })
    }

    /// A command as it is sent.
    pub(crate) fn encoded(command: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Peer::encode(command, &mut bytes);
        bytes
    }

    fn encode(command: &[impl AsRef<[u8]>], bytes: &mut Vec<u8>) {
        let text = "a vector takes all";
        write!(bytes, "*{}\r\n", command.len()).expect(text);
        for word in command {
            let word = word.as_ref();
            write!(bytes, "${}\r\n", word.len()).expect(text);
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Sends these in one pipeline, and gives the text of each answer.
    pub(crate) fn pipeline<'a, const WORDS: usize>(
        &mut self,
        commands: impl Iterator<Item = [&'a str; WORDS]>,
    ) -> Result<Vec<String>, Failure> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for command in commands {
            Peer::encode(&command, &mut bytes);
            count += 1;
        }
        self.stream.write_all(&bytes)?;
        let mut line = Vec::new();
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            line.clear();
            self.reader.read_until(b'\n', &mut line)?;
            let text = std::str::from_utf8(&line)?.trim_end();
            answers.push(match text.split_at_checked(1) {
                Some(("+", text)) => text.to_owned(),
                Some(("$", length)) => {
                    let length: usize = length.parse()?;
                    let mut text = vec![0; length + 2];
                    self.reader.read_exact(&mut text)?;
                    text.truncate(length);
                    String::from_utf8(text)?
                }
                _ => return Err(format!("Redis answers {text:?}").into()),
            });
        }
        Ok(answers)
    }

    pub(crate) fn send(&mut self, commands: &[Vec<&[u8]>]) -> Result<(), Failure> {
        let bytes: Vec<u8> = (commands.iter())
            .flat_map(|command| Peer::encoded(command))
            .collect();
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Sends these, and takes so many bytes of answers as they are.
    pub(crate) fn exchange(&mut self, commands: &[u8], answers: usize) -> Result<(), Failure> {
        self.stream.write_all(commands)?;
        let mut bytes = vec![0; answers];
        self.reader.read_exact(&mut bytes)?;
        match bytes.ends_with(b"\r\n") {
            true => Ok(()),
            false => Err("other answers than expected".into()),
        }
    }

    /// Reads one answer or message over.
    pub(crate) fn read(&mut self) -> Result<(), Failure> {
        let mut missing = 1;
        while missing > 0 {
            missing -= 1;
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("redis-server has closed".into());
            }
            let number = || line[1..].trim().parse::<i64>();
            match line.as_bytes().first() {
                Some(b'*') => missing += usize::try_from(number()?)?,
                Some(b'$') if number()? >= 0 => {
                    let mut text = vec![0; usize::try_from(number()?)? + 2];
                    self.reader.read_exact(&mut text)?;
                }
                Some(b'-') => return Err(line.into()),
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn call(&mut self, command: Vec<&[u8]>) -> Result<(), Failure> {
        self.send(&[command])?;
        self.read()
    }

    /// Writes as many entries as [`fill`](crate::tree::fill) does, of the same keys.
    pub(crate) fn fill(&mut self, count: usize) -> Result<(), Failure> {
        for start in (0..count).step_by(1000) {
            let end = count.min(start + 1000);
            let commands: Vec<u8> = (start..end)
                .flat_map(|number| Peer::encoded(&["SET", &key(number), &number.to_string()]))
                .collect();
            self.exchange(&commands, (end - start) * "+OK\r\n".len())?;
        }
        Ok(())
    }
}
