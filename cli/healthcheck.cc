#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/connection_flags.h"
#include "cli/parse.h"
#include "client/client.h"

namespace vitower {
namespace {

constexpr char kHealthcheckExamples[] =
    "  vitower healthcheck --server localhost:50051\n"
    "  vitower healthcheck --server localhost:50051 --wait 60s\n"
    "  vitower healthcheck --server vitower.example.org:443 --tls-ca ca.pem --tls-client-cert me.pem --tls-client-key "
    "me.key";

using std::chrono::steady_clock;

class Healthcheck final : public Command {
 public:
  explicit Healthcheck(CLI::App& root)
      : Command(root, "healthcheck", "Ask a server whether it is serving: exit code 0 if it is, 1 if not.",
                kHealthcheckExamples) {
    options().Add({"server", "HOST:PORT", "localhost:50051", "the server to ask"}, IntoText(&connection_.server));
    AddTlsFlags(options(), &connection_);
    options().Add({"wait", "TIME", "0", "ask again until it is serving, for so long at most"},
                  Into(&wait_, ParseDuration));
    options().Add({"timeout", "TIME", "5s", "of one question"}, Into(&timeout_, ParseDuration));
    options().AddSwitch("quiet", "print nothing: the exit code tells", &quiet_);
  }

 private:
  ExitCode Execute() override {
    const absl::StatusOr<ClientOptions> wanted = ToClientOptions(connection_);
    if (!wanted.ok()) return Fail(ExitCode::kUsage, std::string(wanted.status().message()));
    const absl::StatusOr<std::unique_ptr<Client>> client = MakeClient(*wanted);
    if (!client.ok()) return Fail(ExitCode::kUsage, std::string(client.status().message()));
    const absl::Status status = AskUntilServing(**client);
    if (!status.ok()) {
      if (!quiet_) Fail(ExitCode::kFailure, absl::StrCat(connection_.server, ": ", std::string(status.message())));
      return ExitCode::kFailure;
    }
    if (!quiet_) std::printf("%s: SERVING\n", connection_.server.c_str());
    return ExitCode::kOk;
  }

  absl::Status AskUntilServing(Client& client) const {
    const auto give_up = steady_clock::now() + wait_;
    while (true) {
      absl::Status status = client.CheckHealth(std::chrono::system_clock::now() + timeout_);
      const auto left = give_up - steady_clock::now();
      if (status.ok() || left <= left.zero()) return status;
      std::this_thread::sleep_for(std::min<steady_clock::duration>(left, std::chrono::milliseconds(200)));
    }
  }

  ConnectionFlags connection_;
  std::chrono::microseconds wait_{};
  std::chrono::microseconds timeout_{};
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeHealthcheck(CLI::App& root) { return std::make_unique<Healthcheck>(root); }

}  // namespace vitower
