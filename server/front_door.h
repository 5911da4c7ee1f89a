// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/acceptor.h"
#include "server/certificates.h"
#include "server/gate.h"
#include "server/metrics.h"
#include "server/reloader.h"
#include "server/server.h"

namespace vitower {

// What stands between the network and the RPCs: the port, the limits on connections, TLS, tokens. Its files are read
// again when they change. It must outlive gRPC's server.
class FrontDoor final {
 public:
  // Binds the port: clients may connect, and wait. The status names the flag, and the address or file.
  static absl::StatusOr<std::unique_ptr<FrontDoor>> Create(const ServerOptions& options, Metrics& metrics);

  const Gate& gate() const { return *gate_; }
  int port() const { return acceptor_->port(); }

  // Before the server is built: its credentials and limits.
  void Install(grpc::ServerBuilder& builder);
  // When it is: hands it the connections.
  void Open();
  // No more connections once it returns; those that are there stay. Before gRPC shuts down, which would never close one
  // that comes later.
  void Close() { acceptor_->Stop(); }

 private:
  FrontDoor(const ServerOptions& options, Metrics& metrics) : options_(options), metrics_(metrics) {}

  absl::Status ReadFiles();
  void WatchFiles();
  void LogWhatHolds() const;
  std::shared_ptr<grpc::ServerCredentials> Credentials() const;

  const ServerOptions options_;
  Metrics& metrics_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<Certificates> certificates_;  // none: plain text
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> grpc_acceptor_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<Reloader> reloader_;  // last: it uses the above
};

}  // namespace vitower
