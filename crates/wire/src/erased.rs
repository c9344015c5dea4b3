//! A service without its type, so that programs with several compile the engine once for all.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};

use crate::message::request_body::RequestBody;
use crate::service::HttpService;

type ErasedBody = Pin<Box<dyn Body<Data = Bytes, Error = String> + Send>>;
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<ErasedBody>, String>> + Send + 'a>>;

/// A service of any type, without prebuilt answers. Each request and its body take an allocation.
#[derive(Clone)]
pub(crate) struct ErasedService(Arc<dyn BoxedAnswer>);

impl ErasedService {
    pub(crate) fn new(service: impl HttpService) -> ErasedService {
        ErasedService(Arc::new(service))
    }
}

impl HttpService for ErasedService {
    type Body = ErasedBody;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<ErasedBody>, String> {
        self.0.boxed_answer(request).await
    }
}

trait BoxedAnswer: Send + Sync {
    fn boxed_answer(&self, request: Request<RequestBody>) -> Answer<'_>;
}

impl<S: HttpService> BoxedAnswer for S {
    fn boxed_answer(&self, request: Request<RequestBody>) -> Answer<'_> {
        Box::pin(async move {
            let response = self.answer(request).await?;
            Ok(response.map(|body| -> ErasedBody { Box::pin(BytesOf(Box::pin(body))) }))
        })
    }
}

/// A body whose data are `Bytes` and whose errors are text.
struct BytesOf<B>(Pin<Box<B>>);

impl<B: Body<Error: fmt::Display>> Body for BytesOf<B> {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let bytes = |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        let frame = self.0.as_mut().poll_frame(cx);
        frame.map(|next| next.map(|result| result.map(bytes).map_err(|error| error.to_string())))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outflow_content::Content;

    #[derive(Clone)]
    struct Sized(&'static str);

    impl HttpService for Sized {
        type Body = outflow_content::ContentBody;

        async fn answer(&self, request: Request<RequestBody>) -> Result<Response<Self::Body>, String> {
            Ok(Content::bytes(self.0).respond(request.method(), request.headers()))
        }
    }

    #[tokio::test]
    async fn an_erased_answer_keeps_its_length_extensions_and_bytes() {
        let service = ErasedService::new(Sized("Hello"));
        let request = Request::get("/").body(RequestBody::default()).unwrap();
        let response = service.answer(request).await.unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(5));
        assert!(outflow_content::Outgoing::take(&mut response.map(|_| ())).is_some());
    }
}
