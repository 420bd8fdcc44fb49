//! What listens where a program is to connect may be anything: it is told by a typed error, in time.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;
use zproc::{Context, Error, Server};

/// Far more than it takes.
const DEADLINE: Duration = Duration::from_secs(60);

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("socket");
    (place, path)
}

/// Who listens at the path, does this with whoever connects, and is asked by a program.
fn meets(listens: impl FnOnce(UnixListener) + Send + 'static, timeout: Duration) -> Error {
    let (_place, path) = place();
    let listener = UnixListener::bind(&path).expect("bind");
    let thread = std::thread::spawn(move || listens(listener));
    let builder = Context::builder().connect_timeout(timeout);
    let error = builder.connect(&path).expect_err("it is no server");
    assert!(
        error.to_string().contains("socket"),
        "it says where: {error}"
    );
    thread.join().expect("no panic");
    error
}

#[test]
fn what_is_no_server_is_told_by_a_typed_error() {
    let hangs_up = |listener: UnixListener| drop(listener.accept());
    assert!(meets(hangs_up, DEADLINE).is_stranger());
    for babble in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0; 64],
        &[9, 0, 0, 0, 1],
    ] {
        let babbles = move |listener: UnixListener| {
            let (mut stream, _) = listener.accept().expect("accept");
            // It may have hung up already.
            let _ = stream.write_all(babble);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        };
        let error = meets(babbles, DEADLINE);
        assert!(error.is_stranger(), "{error}");
        // What its bytes would mean to us is nobody's affair.
        let text = error.to_string();
        let why = [
            "its answer is not one of zproc's protocol",
            "it has hung up",
        ];
        assert!(why.iter().any(|why| text.contains(why)), "{text}");
        assert!(
            !text.contains("bytes") && !text.contains("buffer"),
            "{text}"
        );
    }
    let is_silent = |listener: UnixListener| {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_to_end(&mut Vec::new()).expect("it hangs up");
    };
    let short = Duration::from_millis(50);
    assert!(meets(is_silent, short).is_timeout());
    // A byte now and then is no answer either.
    let drips = |listener: UnixListener| {
        let (mut stream, _) = listener.accept().expect("accept");
        while stream.write_all(&[0]).is_ok() {
            std::thread::yield_now();
        }
    };
    let error = meets(drips, short);
    assert!(error.is_timeout() || error.is_stranger(), "{error}");
    // A server that is bound and does not run is silent, too.
    let (_place, path) = place();
    let server = Server::bind(&path).expect("bind");
    let builder = Context::builder().connect_timeout(short);
    let error = builder.connect(&path).expect_err("it does not run");
    assert!(error.is_timeout(), "{error}");
    drop(server);
}

fn told(path: &std::path::Path) -> (Error, String) {
    let error = Context::connect(path).expect_err("it is no server");
    let text = error.to_string();
    (error, text)
}

/// "Nobody listens there" was said of a file that is not there, and of one that is no socket.
#[test]
fn a_path_without_a_socket_is_told_as_what_it_is() {
    let (place, path) = place();
    for missing in [path.clone(), place.path().join("no/such")] {
        let (error, text) = told(&missing);
        assert!(
            error.is_no_server() && text.contains("no such file"),
            "{text}"
        );
    }
    drop(UnixListener::bind(&path).expect("bind"));
    let (error, text) = told(&path);
    assert!(
        error.is_no_server() && text.contains("nobody listens there"),
        "{text}"
    );
    let datagrams = place.path().join("datagrams");
    let _socket = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("bind");
    let (error, text) = told(&datagrams);
    assert!(error.is_stranger() && text.contains("datagrams"), "{text}");
    let file = place.path().join("file");
    std::fs::write(&file, "precious").expect("write");
    for other in [&*file, place.path()] {
        let (error, text) = told(other);
        assert!(error.is_stranger() && text.contains("no socket"), "{text}");
    }
    let (error, text) = told(&file.join("below"));
    assert!(
        error.is_no_server() && text.contains("no such file"),
        "{text}"
    );
    for (impossible, why) in [
        (PathBuf::new(), "empty"),
        (place.path().join("x".repeat(200)), "107"),
    ] {
        let (error, text) = told(&impossible);
        assert!(error.is_invalid() && text.contains(why), "{text}");
    }
}

/// It was as long as all that it is made of.
#[test]
fn a_server_is_shown_by_its_path() {
    let (_place, path) = place();
    let server = Server::bind(&path).expect("bind");
    assert_eq!(
        format!("{server:?}"),
        format!("Server {{ path: {path:?}, .. }}")
    );
}

#[test]
fn the_server_of_a_tree_is_its_own() {
    let tree = Context::new().expect("a tree");
    let path = zproc::seam::socket_path(&tree).expect("this is the program");
    let error = Context::connect(path).expect_err("it is the tree's");
    assert!(error.is_refused(), "{error}");
    assert!(
        error.to_string().contains("belongs to one program"),
        "{error}"
    );
    tree.state().set("k", &1).expect("the tree goes on");
}
