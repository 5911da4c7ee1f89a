#include "cli/serve_until_stopped.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace vitower {
namespace {

// "127.0.0.1:0" and the port it became.
std::string WithPort(const std::string& address, int port) {
  return absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
}

ExitCode Failed(const std::string& why) {
  std::fprintf(stderr, "vitower serve: %s\n", why.c_str());
  return ExitCode::kFailure;
}

[[noreturn]] void EndAtOnce(ExitCode code) {
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(code));
}

}  // namespace

ExitCode ServeUntilStopped(StopSignals& signals, const std::shared_ptr<Server>& server, const ServerOptions& options) {
  struct Stop {
    std::atomic<bool> begun{false};
    std::promise<absl::Status> drained;
  };
  const auto stop = std::make_shared<Stop>();  // shared, as the server is: the handler may outlive this function
  std::future<absl::Status> drained = stop->drained.get_future();
  signals.OnFirst([stop, server] {
    stop->begun = true;
    Log(LogLevel::kInfo, "stopping: taking no more work, finishing what was accepted");
    stop->drained.set_value(server->Drain());
  });
  const absl::Status serving = server->WaitUntilServing();
  if (serving.ok()) {
    std::printf("vitower: serving on %s, metrics on %s\n", WithPort(options.listen, server->port()).c_str(),
                WithPort(options.metrics_listen, server->metrics_port()).c_str());
    std::fflush(stdout);
  } else if (!stop->begun) {
    EndAtOnce(Failed(absl::StrCat("the warm-up failed: ", std::string(serving.message()))));
  }
  const absl::Status status = drained.get();
  if (serving.ok() && status.ok()) return ExitCode::kOk;
  EndAtOnce(status.ok() ? ExitCode::kOk : Failed(std::string(status.message())));
}

}  // namespace vitower
