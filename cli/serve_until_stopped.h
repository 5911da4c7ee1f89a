#pragma once

#include <memory>

#include "cli/exit_code.h"
#include "cli/stop_signals.h"
#include "server/server.h"

namespace vitower {

// Waits until `server` serves and says so on stdout, then until a signal asks it to stop, and drains it. Says on stderr
// what went wrong. Returns how the process is to end, or ends it itself where the server's own end would wait for a
// pass or a warm-up that may never end: nothing but the return of main may come after it. `options` are the server's.
ExitCode ServeUntilStopped(StopSignals& signals, const std::shared_ptr<Server>& server, const ServerOptions& options);

}  // namespace vitower
