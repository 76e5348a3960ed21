//! `/openapi.json` of either listener.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{Method, header};
use utoipa::openapi::OpenApi;

use super::{Documents, Undescribed, Written};
use crate::access::{Routers, Routes};
use crate::auth::Guards;

/// Where it is served.
const PATH: &str = "/openapi.json";
/// It changes with a release only, and clients read it before they are written.
const CACHE_CONTROL: &str = "public, max-age=300";

/// What each listener serves, written once.
#[derive(Debug, Clone)]
struct Served {
    public: Bytes,
    operator: Bytes,
}

/// The routes of a process that has `documents`.
pub(crate) fn routes(documents: Documents) -> Result<Routers, Undescribed> {
    let Written { public, operator, .. } = Documents::of_every_process().merge(documents).finish()?;
    let served = Served { public: public.into(), operator: operator.into() };
    let routes = Routes::new(&Guards::none())
        .add(Method::GET, PATH, of_everybody)
        .add_for_operators(Method::GET, PATH, of_operators)
        .with_state(served);
    Ok(routes.expect("the access table has both, which need nothing"))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(of_everybody))]
struct Public;

#[derive(utoipa::OpenApi)]
#[openapi(paths(of_operators))]
struct Operator;

pub(super) fn public() -> OpenApi {
    <Public as utoipa::OpenApi>::openapi()
}

pub(super) fn operator() -> OpenApi {
    <Operator as utoipa::OpenApi>::openapi()
}

#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Description",
    operation_id = "getDocument",
    summary = "Get this document",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn of_everybody(State(served): State<Served>) -> impl IntoResponse {
    answer(served.public)
}

#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Process",
    operation_id = "getDocument",
    summary = "Get this document",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn of_operators(State(served): State<Served>) -> impl IntoResponse {
    answer(served.operator)
}

fn answer(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE_CONTROL)], document)
}
