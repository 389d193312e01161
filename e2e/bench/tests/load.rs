//! The load generator against servers that misbehave on purpose.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::AtomicBool,
    time::Duration,
};

use trireme_bench::load::{
    self, Keys, Report, Workload,
    resp::{Command, Resp, Wait},
};

/// Bytes of one request as `resp` encodes it.
const REQUEST_BYTES: usize = 36;

/// A server that hands every connection to `serve`, in threads that end with the test's process.
fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

/// Answers each request by what `answer` says to its number.
fn answer(mut socket: TcpStream, mut answer: impl FnMut(usize) -> Option<&'static str>) {
    let mut request = [0; REQUEST_BYTES];
    for number in 0.. {
        if socket.read_exact(&mut request).is_err() {
            return;
        }
        let Some(bytes) = answer(number) else { return };
        if socket.write_all(bytes.as_bytes()).is_err() {
            return;
        }
    }
}

fn run(address: SocketAddr, rate: Option<f64>, requests: u64) -> Report {
    let resp = Resp::new(Command::Get, Wait::No, 16, 0, 100).expect("keys that fit");
    let mut request = Vec::new();
    load::Protocol::requests(&resp, &mut Default::default(), &[load::Request { key: 1, number: 1 }], &mut request);
    assert_eq!(request.len(), REQUEST_BYTES);
    let workload = Workload {
        addresses: vec![address],
        connections: 1,
        pipeline: 1,
        keys: Keys::Random(100),
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(60),
        rate,
        requests_max: Some(requests),
    };
    load::run(&workload, &resp, &AtomicBool::new(false)).expect("a load")
}

#[test]
fn errors_and_misses_are_told_apart() {
    let address =
        server(|socket| answer(socket, |number| Some(["$1\r\nx\r\n", "$-1\r\n", "-INDOUBT late\r\n"][number % 3])));
    let report = run(address, None, 9);
    assert_eq!(report.misses, 3);
    assert_eq!(report.errors_text(), "3 INDOUBT");
    assert_eq!(report.latency_us.len(), 9);
}

#[test]
fn a_closed_connection_costs_what_was_on_it_and_is_opened_again() {
    let address = server(|socket| answer(socket, |number| (number < 4).then_some("$1\r\nx\r\n")));
    let report = run(address, None, 15);
    assert_eq!(report.errors_text(), "3 closed", "every fifth request met a closed connection");
    assert_eq!(report.latency_us.len(), 12);
}

#[test]
fn an_answer_of_another_protocol_breaks_the_connection() {
    let address = server(|socket| answer(socket, |_| Some("HTTP/1.1 400 Bad Request\r\n\r\n")));
    assert_eq!(run(address, None, 2).errors_text(), "2 not a reply");
}

#[test]
fn a_stall_is_charged_to_every_request_that_it_delayed() {
    const STALL: Duration = Duration::from_millis(300);
    let stalling = || {
        server(|socket| {
            answer(socket, |number| {
                // The server's fault, not a wait of this test: what the open loop must not hide.
                if number == 100 {
                    std::thread::sleep(STALL);
                }
                Some("$1\r\nx\r\n")
            });
        })
    };
    let closed = run(stalling(), None, 1000);
    assert!(closed.latency_ms(0.95) < 100.0, "in the closed loop one request is late: {closed}");
    let open = run(stalling(), Some(1000.0), 1000);
    let late = open.latency_us.count_between(50_000, u64::MAX);
    assert!(late >= 200, "of 1000 a second, about 250 were meant to start within the stall's first 250 ms: {late}");
}
