//! A stream whose items somebody else sees as they pass: to count them, or to keep what they were.

use futures::Stream;
use pin_project::pin_project;
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[test]
    fn every_item_that_passes_is_seen() {
        let mut sum = 0;
        let stream = Observed::new(futures::stream::iter([1, 2, 3]), |n| sum += n);
        assert_eq!(futures::executor::block_on(stream.count()), 3);
        assert_eq!(sum, 6);
    }
}
