//! Adapters that watch what passes: a stream that counts its items, a reader and a writer that count
//! and hand each buffer on (to a hash, a rate, a progress bar).

use futures::Stream;
use pin_project::pin_project;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A stream that calls `see` for every item it yields.
#[pin_project]
pub struct Observed<S, F> {
    #[pin]
    inner: S,
    see: F,
}

impl<S: Stream, F: FnMut(&S::Item)> Observed<S, F> {
    /// Watches `inner`.
    pub fn new(inner: S, see: F) -> Self {
        Self { inner, see }
    }
}

impl<S: Stream, F: FnMut(&S::Item)> Stream for Observed<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let item = this.inner.poll_next(cx);
        if let Poll::Ready(Some(item)) = &item {
            (this.see)(item);
        }
        item
    }
}

/// A reader or writer that shows every buffer that passes to `see`.
#[derive(Debug)]
pub struct Tap<T, F> {
    inner: T,
    see: F,
}

impl<T, F: FnMut(&[u8])> Tap<T, F> {
    /// Watches `inner`.
    pub fn new(inner: T, see: F) -> Self {
        Self { inner, see }
    }
    /// Gives the inner value back.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: io::Read, F: FnMut(&[u8])> io::Read for Tap<T, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        (self.see)(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<T: io::Write, F: FnMut(&[u8])> io::Write for Tap<T, F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        (self.see)(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::io::Write;

    #[test]
    fn adapters_show_everything_that_passes() {
        let mut sum = 0;
        let stream = Observed::new(futures::stream::iter([1, 2, 3]), |n| sum += n);
        assert_eq!(futures::executor::block_on(stream.count()), 3);
        assert_eq!(sum, 6);
        let mut seen = Vec::new();
        let mut out = Tap::new(Vec::new(), |b: &[u8]| seen.extend_from_slice(b));
        out.write_all(b"abc").expect("memory");
        assert_eq!((out.into_inner().as_slice(), seen.as_slice()), (&b"abc"[..], &b"abc"[..]));
    }
}
