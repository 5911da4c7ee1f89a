#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/server_fixture.h"
#include "tests/support/temporary_folder.h"

namespace vitower {

// A server with TLS or tokens, whose files are in a folder of the test's, and clients with what they show.
class SecureTest : public ServerTest {
 protected:
  static constexpr auto kReplace = std::filesystem::copy_options::overwrite_existing;

  SecureTest();

  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }

  void Serve();     // with options_ as they are, until it is serving
  void ServeTls();  // with live.pem and live.key, copies of server.pem and server.key
  void Stop() { server_.reset(); }
  // Puts another certificate and key into the place of the live ones, each at once.
  void Install(const std::string& name) const;
  void WriteTokens(const std::string& text) const;  // to options_.auth_tokens, at once

  // A new connection by someone who trusts `ca`, and shows the certificate `client` where one is named.
  std::shared_ptr<grpc::Channel> Tls(const std::string& ca, const std::string& client = "",
                                     const std::string& name = "") const;
  std::shared_ptr<grpc::Channel> TlsOfAnyCa() const { return Tls("both-cas"); }

  // How an Embed call of one image ends, carrying `authorization` where it is not empty.
  grpc::StatusCode Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& authorization = "") const;
  grpc::StatusCode CallStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& authorization) const;
  grpc::StatusCode GetInfo(const std::shared_ptr<grpc::Channel>& channel, const std::string& authorization) const;

  // Calls until one ends like this: the server looks at its files once a second.
  static void AwaitStatus(grpc::StatusCode code, const std::function<grpc::StatusCode()>& call);

  // How many calls of ours any handler has seen.
  double RequestsSeen() const;

  TemporaryFolder folder_;
};

// Makes calls from two threads until the end, and keeps how those ended that failed.
class SteadyLoad final {
 public:
  explicit SteadyLoad(std::function<grpc::StatusCode()> call);
  ~SteadyLoad();

  void AwaitMore(int calls) const;  // than have ended now
  std::string failures() const;

 private:
  void Run(const std::function<grpc::StatusCode()>& call);

  std::atomic<bool> stop_{false};
  std::atomic<int> answered_{0};
  mutable std::mutex mu_;
  std::string failures_;  // guarded by mu_
  std::vector<std::jthread> threads_;
};

}  // namespace vitower
