#include "server/front_door.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "server/log.h"
#include "server/secret_file.h"

namespace vitower {
namespace {

// gRPC's reflection, alone of all services, holds a thread for every call, and needs no token. A call that finds none
// is refused.
constexpr int kReflectionThreads = 8;

int Milliseconds(std::chrono::seconds time) {
  const std::chrono::milliseconds::rep most = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(std::chrono::milliseconds(time).count(), most));
}

// For what calls hold before they have a permit and while gRPC copies: twice what has one, and a message more.
size_t GrpcMemoryBytes(const ServerOptions& options) {
  constexpr int64_t kLeast = 64LL << 20;  // connections need some themselves
  const int64_t bytes = 2 * options.max_inflight_bytes + options.max_request_bytes;
  return static_cast<size_t>(std::max(bytes, kLeast));
}

void SetKeepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);  // else a call whose client died keeps its permit
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // Clients of idle streams ping too, to see a server that is gone; gRPC would close their connection for it.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 9'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

void SetLimits(grpc::ServerBuilder& builder, const ServerOptions& options) {
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(options.max_concurrent_streams));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(options.handshake_timeout));
  for (const auto& [argument, time] : {std::pair(GRPC_ARG_MAX_CONNECTION_IDLE_MS, options.max_connection_idle),
                                       {GRPC_ARG_MAX_CONNECTION_AGE_MS, options.max_connection_age},
                                       {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, options.max_connection_age_grace}}) {
    if (time.count() > 0) builder.AddChannelArgument(argument, Milliseconds(time));
  }
  grpc::ResourceQuota quota("vitower");
  quota.SetMaxThreads(kReflectionThreads);
  builder.SetResourceQuota(quota.Resize(GrpcMemoryBytes(options)));
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_request_bytes));
}

// gRPC's library of reflection adds itself to every server of a process that links it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    const auto is_reflection = [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; };
    plugins->erase(std::remove_if(plugins->begin(), plugins->end(), is_reflection), plugins->end());
  }
};

TlsFiles FilesOf(const ServerOptions& options) { return {options.tls_cert, options.tls_key, options.tls_client_ca}; }

}  // namespace

absl::Status CheckLocks(const ServerOptions& options) {
  if (!options.auth_tokens.empty()) {
    if (const auto tokens = ReadFirstTokens(options.auth_tokens); !tokens.ok()) return tokens.status();
  }
  if (options.tls_cert.empty()) return absl::OkStatus();
  return ReadTlsFiles(FilesOf(options), std::chrono::system_clock::now()).status();
}

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::Create(const ServerOptions& options, Metrics& metrics) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();  // before there is a builder
  std::unique_ptr<FrontDoor> door(new FrontDoor(options, metrics));
  if (absl::Status read = door->ReadFiles(); !read.ok()) return read;
  absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
      Acceptor::Listen(options.listen, options.max_connections, metrics);
  if (!acceptor.ok()) return acceptor.status();
  door->acceptor_ = *std::move(acceptor);
  door->LogWhatHolds();
  return door;
}

absl::Status FrontDoor::ReadFiles() {
  absl::StatusOr<std::unique_ptr<Gate>> gate = Gate::Create(options_.auth_tokens, metrics_);
  if (!gate.ok()) return gate.status();
  gate_ = *std::move(gate);
  if (options_.tls_cert.empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Certificates>> certificates = Certificates::Load(FilesOf(options_));
  if (!certificates.ok()) return certificates.status();
  certificates_ = *std::move(certificates);
  metrics_.SetCertificateExpiry(certificates_->expires());
  return absl::OkStatus();
}

void FrontDoor::LogWhatHolds() const {
  if (gate_->asks_for_tokens()) WarnIfOpenToAll("--auth-tokens", options_.auth_tokens);
  if (certificates_) WarnIfOpenToAll("--tls-key", options_.tls_key);
  const std::string who = gate_->asks_for_tokens()         ? Cat("with a token of ", gate_->names())
                          : options_.tls_client_ca.empty() ? std::string("from anybody who reaches the port")
                                                           : std::string("from anybody with a certificate of the CA");
  Log(certificates_ ? LogLevel::kInfo : LogLevel::kWarning,
      Cat("calls are taken ", who, certificates_ ? ", encrypted" : ", in plain text (--tls-cert, --auth-tokens)"));
}

std::shared_ptr<grpc::ServerCredentials> FrontDoor::Credentials() const {
  if (!certificates_) return grpc::InsecureServerCredentials();
  std::shared_ptr<grpc::ServerCredentials> credentials = certificates_->Credentials();
  if (gate_->asks_for_tokens()) credentials->SetAuthMetadataProcessor(MakeAuthProcessor(*gate_));
  return credentials;
}

void FrontDoor::Install(grpc::ServerBuilder& builder) {
  SetKeepalive(builder);
  SetLimits(builder, options_);
  if (!options_.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  // gRPC would inflate a message before it looks at its size.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  grpc_acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, Credentials());
}

void FrontDoor::Open() {
  acceptor_->Start([this](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = fd;
    grpc_acceptor_->HandleNewConnection(&connection);
  });
  WatchFiles();
}

void FrontDoor::WatchFiles() {
  std::vector<Reloader::File> files;
  if (gate_->asks_for_tokens()) files.push_back({"tokens", [this] { return gate_->Reload(); }});
  if (certificates_) {
    files.push_back({"certificates", [this] {
                       absl::StatusOr<bool> changed = certificates_->Reload();
                       metrics_.SetCertificateExpiry(certificates_->expires());
                       return changed;
                     }});
  }
  if (!files.empty()) reloader_ = std::make_unique<Reloader>(std::move(files), metrics_);
}

}  // namespace vitower
