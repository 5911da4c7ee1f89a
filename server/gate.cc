#include "server/gate.h"

#include <strings.h>

#include <atomic>
#include <iterator>
#include <string_view>
#include <utility>

#include "server/secret_file.h"
#include "server/status.h"

namespace vitower {
namespace {

constexpr char kFlag[] = "--auth-tokens";
constexpr std::string_view kScheme = "Bearer ";

std::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

bool StartsWith(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

class AuthProcessor final : public grpc::AuthMetadataProcessor {
 public:
  explicit AuthProcessor(const Gate& gate) { gate_.store(&gate, std::memory_order_release); }

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* /*context*/, OutputMetadata* /*consumed*/,
                       OutputMetadata* /*response*/) override {
    const auto path = metadata.find(":path");
    if (path != metadata.end() && IsOpen(View(path->second))) return grpc::Status::OK;
    const absl::Status checked = gate_.load(std::memory_order_acquire)->Check(metadata);
    return {static_cast<grpc::StatusCode>(checked.code()), std::string(checked.message())};
  }

 private:
  static bool IsOpen(std::string_view path) {
    return StartsWith(path, "/grpc.health.v1.Health/") || StartsWith(path, "/grpc.reflection.");
  }

  // gRPC orders calls after this was made; this says so to ThreadSanitizer, which does not see into the library.
  std::atomic<const Gate*> gate_{nullptr};
};

}  // namespace

absl::StatusOr<AuthTokens> ReadTokens(const std::string& token_file) {
  const absl::StatusOr<std::string> text = ReadSmallFile(kFlag, token_file);
  if (!text.ok()) return text.status();
  absl::StatusOr<AuthTokens> tokens = AuthTokens::Parse(*text);
  if (!tokens.ok()) return BadInput(kFlag, ": ", token_file, ": ", std::string(tokens.status().message()));
  return tokens;
}

absl::StatusOr<AuthTokens> ReadFirstTokens(const std::string& token_file) {
  absl::StatusOr<AuthTokens> tokens = ReadTokens(token_file);
  if (tokens.ok() && tokens->empty()) return BadInput(kFlag, ": ", token_file, ": there is no token in it");
  return tokens;
}

absl::StatusOr<std::unique_ptr<Gate>> Gate::Create(const std::string& token_file, Metrics& metrics) {
  absl::StatusOr<AuthTokens> tokens = token_file.empty() ? AuthTokens() : ReadFirstTokens(token_file);
  if (!tokens.ok()) return tokens.status();
  return std::unique_ptr<Gate>(new Gate(token_file, *std::move(tokens), metrics));
}

absl::StatusOr<bool> Gate::Reload() {
  absl::StatusOr<AuthTokens> tokens = ReadTokens(token_file_);
  MutexLock lock(mu_);
  const std::shared_ptr<const AuthTokens> before = std::move(candidate_);
  if (!tokens.ok()) return tokens.status();
  if (*tokens == *tokens_) return false;
  candidate_ = std::make_shared<AuthTokens>(*std::move(tokens));
  if (!before || !(*before == *candidate_)) return false;
  tokens_ = std::move(candidate_);
  return true;
}

std::shared_ptr<const AuthTokens> Gate::Tokens() const {
  MutexLock lock(mu_);
  return tokens_;
}

absl::Status Gate::Check(const Metadata& metadata) const {
  if (!asks_for_tokens()) return absl::OkStatus();
  const auto [begin, end] = metadata.equal_range("authorization");
  if (begin == end) return Refuse("missing", "a token is needed: send the metadata authorization: Bearer TOKEN");
  const std::string_view value = View(begin->second);
  const bool bearer = value.size() > kScheme.size() && strncasecmp(value.data(), kScheme.data(), kScheme.size()) == 0;
  if (!bearer || std::next(begin) != end) return Refuse("malformed", "the metadata authorization is not Bearer TOKEN");
  if (Tokens()->Knows(value.substr(kScheme.size()))) return absl::OkStatus();
  return Refuse("unknown", "the token is not known here, or no longer");
}

absl::Status Gate::Refuse(const char* reason, const char* message) const {
  metrics_.CountAuthFailure(reason);
  return absl::UnauthenticatedError(message);
}

std::shared_ptr<grpc::AuthMetadataProcessor> MakeAuthProcessor(const Gate& gate) {
  return std::make_shared<AuthProcessor>(gate);
}

}  // namespace vitower
