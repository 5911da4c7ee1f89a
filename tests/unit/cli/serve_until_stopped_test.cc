#include "cli/serve_until_stopped.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <future>

namespace vitower {
namespace {

constexpr int kWaitedForItsEnd = 99;

// A server whose devices hang in their warm-up: its own end would never come.
class HangingServer : public Server {
 public:
  ~HangingServer() override { std::_Exit(kWaitedForItsEnd); }
  int port() const override { return 1; }
  int metrics_port() const override { return 2; }
  absl::Status Drain() override {
    drained_.set_value();
    return absl::OkStatus();
  }

 protected:
  std::promise<void> drained_;
};

class StoppedServer final : public HangingServer {
  absl::Status WaitUntilServing() override {
    kill(getpid(), SIGTERM);
    drained_.get_future().get();
    return absl::UnavailableError("the server is shutting down");
  }
};

class FailedServer final : public HangingServer {
  absl::Status WaitUntilServing() override { return absl::UnavailableError("device 0 is stuck"); }
};

template <typename AServer>
[[noreturn]] void Serve() {
  int code = 0;
  {
    StopSignals signals;
    code = static_cast<int>(ServeUntilStopped(signals, std::make_shared<AServer>(), ServerOptions()));
  }
  std::_Exit(code);
}

class ServeUntilStoppedDeathTest : public testing::Test {
 protected:
  ServeUntilStoppedDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(ServeUntilStoppedDeathTest, ASignalDuringAWarmUpThatHangsEndsTheProcessWithExitCode0) {
  EXPECT_EXIT(Serve<StoppedServer>(), testing::ExitedWithCode(0), "");
}

TEST_F(ServeUntilStoppedDeathTest, AWarmUpThatFailedIsTheEndWhateverStillHangs) {
  EXPECT_EXIT(Serve<FailedServer>(), testing::ExitedWithCode(1),
              "vitower serve: the warm-up failed: device 0 is stuck");
}

}  // namespace
}  // namespace vitower
