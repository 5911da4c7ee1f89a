#include "client/channel.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

absl::Status CheckAddress(std::string_view server) {
  const size_t colon = server.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(std::string(server.substr(colon + 1)), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("server: \"", std::string(server), "\" is not HOST:PORT"));
  }
  return absl::OkStatus();
}

// Whether "localhost:50051", "127.0.0.1:50051" or "[::1]:50051", with or without a scheme, is this machine.
bool IsLoopback(std::string_view server) {
  std::string_view host = server.substr(0, server.rfind(':'));
  host.remove_prefix(host.rfind('/') + 1);  // npos + 1 is 0
  return host == "localhost" || host == "[::1]" || host.substr(0, 4) == "127.";
}

int ClampToInt(int64_t value) {
  return static_cast<int>(std::clamp<int64_t>(value, 0, std::numeric_limits<int>::max()));
}

// gRPC tries again by itself, as long as nothing of the answer has come and it still holds the request. A server that
// shuts down cancels the calls that reach it meanwhile.
std::string ServiceConfig(int attempts) {
  std::string config = R"({"loadBalancingConfig":[{"round_robin":{}}])";
  if (attempts > 1) {
    absl::StrAppend(&config, R"(,"methodConfig":[{"name":[{"service":"vitower.v1.VisionEmbedder","method":"Embed"},)",
                    R"({"service":"vitower.v1.VisionEmbedder","method":"EmbedStream"}],"retryPolicy":{"maxAttempts":)",
                    std::min(attempts, 5), R"(,"initialBackoff":"0.05s","maxBackoff":"2s","backoffMultiplier":2,)",
                    R"("retryableStatusCodes":["UNAVAILABLE","CANCELLED"]}}])");
  }
  return config + "}";
}

grpc::ChannelArguments ArgumentsOf(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(ClampToInt(options.max_reply_bytes));
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetServiceConfigJSON(ServiceConfig(options.attempts));
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, ClampToInt(int64_t{1} << 31));  // a larger call is begun once
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // Pings while a call waits: else one whose server's machine is gone would wait for its deadline.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit
  // A container with http_proxy set asks itself whether it is healthy.
  if (IsLoopback(options.server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

absl::StatusOr<std::string> ReadPem(const char* field, const std::string& path) {
  std::string bytes;
  if (path.empty()) return bytes;
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open() || std::filesystem::is_directory(path, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": cannot read ", path));
  }
  bytes.assign(std::istreambuf_iterator<char>(file), {});
  if (bytes.find("-----BEGIN ") != std::string::npos) return bytes;
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", path, " is no PEM file"));
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> TlsCredentialsOf(const TlsOptions& tls) {
  if (tls.certificate.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError(tls.key.empty() ? "tls-client-cert is set and tls-client-key is not"
                                                      : "tls-client-key is set and tls-client-cert is not");
  }
  grpc::SslCredentialsOptions pem;
  for (const auto& [field, path, target] : {std::tuple("tls-ca", &tls.ca, &pem.pem_root_certs),
                                            {"tls-client-cert", &tls.certificate, &pem.pem_cert_chain},
                                            {"tls-client-key", &tls.key, &pem.pem_private_key}}) {
    absl::StatusOr<std::string> bytes = ReadPem(field, *path);
    if (!bytes.ok()) return bytes.status();
    *target = *std::move(bytes);
  }
  return grpc::SslCredentials(pem);
}

// gRPC aborts the process for bytes that must not stand in metadata.
absl::Status CheckToken(const ClientOptions& options) {
  if (options.token.empty()) return absl::OkStatus();
  const bool printable = std::all_of(options.token.begin(), options.token.end(),
                                     [](char c) { return absl::ascii_isgraph(static_cast<unsigned char>(c)); });
  if (!printable) return absl::InvalidArgumentError("token: it holds blanks or bytes that are not printable ASCII");
  if (options.tls || options.allow_plain_text_token) return absl::OkStatus();
  return absl::InvalidArgumentError("token: it would travel unencrypted, since there is no TLS");
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ClientOptions& options) {
  if (absl::Status status = CheckAddress(options.server); !status.ok()) return status;
  if (absl::Status status = CheckToken(options); !status.ok()) return status;
  grpc::ChannelArguments arguments = ArgumentsOf(options);
  if (!options.tls) return grpc::CreateCustomChannel(options.server, grpc::InsecureChannelCredentials(), arguments);
  if (!options.tls->server_name.empty()) arguments.SetSslTargetNameOverride(options.tls->server_name);
  const auto credentials = TlsCredentialsOf(*options.tls);
  if (!credentials.ok()) return credentials.status();
  return grpc::CreateCustomChannel(options.server, *credentials, arguments);
}

void Describe(grpc::ClientContext& context, const CallDescription& call) {
  context.set_deadline(call.deadline);
  if (!call.request_id.empty()) context.AddMetadata("x-request-id", call.request_id);
  if (!call.token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", call.token));
}

}  // namespace vitower
