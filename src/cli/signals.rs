//! Ctrl-C, SIGTERM and a closed terminal for the commands that run until they are told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::runtime::crew::Stop;
use crate::runtime::hangup::Hangup;

/// Sets `stop` on ctrl-C, SIGTERM or a closed terminal. What is begun is finished: nobody is thrown out by a second signal.
pub(super) fn heed(stop: &Stop) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::could_not_run(format!("cannot listen for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
    let listen = |kind: SignalKind| -> Result<Signal, Failure> {
        let _inside = runtime.enter();
        signal(kind).map_err(fault)
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hangup = {
        let _inside = runtime.enter();
        Hangup::listen().map_err(fault)?
    };
    let stop = stop.clone();
    let listening = move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, () = hangup.heard() => {} }
                stop.set();
            }
        });
    };
    std::thread::Builder::new().name("sillage-signals".to_owned()).spawn(listening).map_err(fault)?;
    Ok(())
}
