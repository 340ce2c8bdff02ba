//! The answer to a request: given once, whatever becomes of the request.

use crate::error::Error;

/// Whom to tell what became of a request. One that is dropped, by a panic or a closing log, answers `Closed`.
pub(crate) struct Done<T>(Option<Answer<T>>);

type Answer<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

impl<T> Done<T> {
    pub(crate) fn new(answer: impl FnOnce(Result<T, Error>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Answers.
    pub(crate) fn give(mut self, result: Result<T, Error>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(Error::Closed));
        }
    }
}
