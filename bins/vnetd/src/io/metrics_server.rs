//! `GET /metrics` and `GET /healthz` over HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, oneshot};

use crate::daemon::Event;

// Nobody needs more scrapers at a time, and each connection has to be quick.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves metrics for ever.
pub(crate) async fn serve(listener: TcpListener, daemon: UnboundedSender<Event>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a metrics client was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let daemon = daemon.clone();
        tokio::spawn(async move {
            // Who is too slow loses the connection.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, daemon)).await;
            drop(slot);
        });
    }
}

async fn answer(stream: TcpStream, daemon: UnboundedSender<Event>) {
    let service = service_fn(|request: Request<Incoming>| {
        let daemon = daemon.clone();
        async move { Ok::<_, Infallible>(respond(&request, &daemon).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a metrics client: {error}");
    }
}

async fn respond(request: &Request<Incoming>, daemon: &UnboundedSender<Event>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n".into());
    }
    match request.uri().path() {
        "/metrics" => match scrape(daemon).await {
            Some(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                response
            }
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n".into()),
        },
        // That the daemon's own task answers is what is asked.
        "/healthz" => match scrape(daemon).await {
            Some(_) => plain(StatusCode::OK, "ok\n".into()),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n".into()),
        },
        _ => plain(StatusCode::NOT_FOUND, "here are /metrics and /healthz\n".into()),
    }
}

async fn scrape(daemon: &UnboundedSender<Event>) -> Option<String> {
    let (reply, text) = oneshot::channel();
    daemon.send(Event::Scrape(reply)).ok()?;
    text.await.ok()
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
