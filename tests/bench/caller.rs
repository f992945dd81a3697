//! Calls over one connection that stays, as dockerd makes them, with nothing of the answer looked at while the clock runs.

use crate::client::{Client, request};
use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// A connection to the daemon.
pub struct Caller {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Caller {
    pub fn new(client: &Client) -> Self {
        Self { stream: client.connect(), buffer: vec![0; 256 * 1024] }
    }

    /// How long a call took until its answer was there as a whole.
    pub fn call(&mut self, path: &str, body: &str) -> Result<Duration> {
        let request = request(path, body);
        let begun = Instant::now();
        self.stream.write_all(&request)?;
        self.read_answer().with_context(|| format!("{path} {body}"))?;
        Ok(begun.elapsed())
    }

    /// How long it takes until the first byte of an answer.
    pub fn first_byte(&mut self, path: &str, body: &str, meanwhile: impl FnOnce()) -> Result<Duration> {
        let begun = Instant::now();
        self.stream.write_all(&request(path, body))?;
        meanwhile();
        self.stream.read_exact(&mut self.buffer[..1])?;
        Ok(begun.elapsed())
    }

    fn read_answer(&mut self) -> Result<()> {
        let mut head = Vec::new();
        let end = loop {
            let length = self.stream.read(&mut self.buffer)?;
            if length == 0 {
                bail!("the connection ended");
            }
            head.extend_from_slice(&self.buffer[..length]);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut missing = length.context("no length")?.parse::<usize>()? + end - head.len();
        while missing > 0 {
            match self.stream.read(&mut self.buffer)? {
                0 => bail!("the connection ended"),
                length => missing -= length,
            }
        }
        if !text.starts_with("http/1.1 200 ") {
            bail!("{}", String::from_utf8_lossy(&head));
        }
        Ok(())
    }
}
