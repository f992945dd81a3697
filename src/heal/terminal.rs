//! What a command tells while others wait for the volume. A terminal that takes nothing for now (Ctrl-S, a pipe that nobody
//! reads) must hold up neither the work nor them, so a thread of its own writes.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

/// Something to be written.
enum Text {
    Said(Vec<u8>),
    Warned(Vec<u8>),
    End,
}

/// The terminal, for lines that are never waited for. As a writer it is standard error.
#[derive(Clone, Debug)]
pub struct Terminal {
    texts: Sender<Text>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Terminal {
    /// Starts the thread. There is no other yet that opens files or changes namespaces.
    pub fn open() -> io::Result<(Self, Writer)> {
        Self::writing_to(io::stdout(), io::stderr())
    }

    fn writing_to(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
    ) -> io::Result<(Self, Writer)> {
        let (texts, to_write) = channel();
        let writer = thread::Builder::new().name("terminal".to_owned());
        let writer = writer.spawn(move || write_all(&to_write, out, err))?;
        Ok((Self { texts }, Writer(writer)))
    }

    /// Puts a line on standard output.
    pub fn say(&self, line: &str) {
        self.send(Text::Said(format!("{line}\n").into_bytes()));
    }

    /// Waits until all of it is written. Not while others wait for something of this process.
    pub fn finish(&self, writer: Writer) {
        self.send(Text::End);
        _ = writer.0.join();
    }

    fn send(&self, text: Text) {
        _ = self.texts.send(text);
    }
}

impl Write for Terminal {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.send(Text::Warned(text.to_vec()));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody reading is no reason to stop half way.
fn write_all(texts: &Receiver<Text>, mut out: impl Write, mut err: impl Write) {
    for text in texts {
        match text {
            Text::Said(text) => _ = out.write_all(&text).and_then(|()| out.flush()),
            Text::Warned(text) => _ = err.write_all(&text),
            Text::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::net::UnixStream};

    #[test]
    fn a_terminal_that_takes_nothing_holds_up_nobody_and_loses_nothing() {
        let (mut screen, out) = UnixStream::pair().unwrap();
        let (terminal, writer) = Terminal::writing_to(out, io::sink()).unwrap();
        // More than a socket takes that nobody reads.
        let line = "x".repeat(1 << 20);
        for _ in 0..4 {
            terminal.say(&line);
        }
        let reader = thread::spawn(move || {
            let mut read = String::new();
            screen.read_to_string(&mut read).map(|_| read)
        });
        terminal.finish(writer);
        assert_eq!(reader.join().unwrap().unwrap(), format!("{line}\n").repeat(4));
    }
}
