// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/auth_tokens.h"
#include "server/metrics.h"
#include "server/mutex.h"

namespace vitower {

// The tokens of a file. INVALID_ARGUMENT names it and what is wrong with it.
absl::StatusOr<AuthTokens> ReadTokens(const std::string& token_file);
// Likewise where a server starts: a file without a token is wrong, too.
absl::StatusOr<AuthTokens> ReadFirstTokens(const std::string& token_file);

// Whether a call may enter: it shows a token that the file of --auth-tokens holds, or there is no such file. Health and
// reflection ask for none. What is refused is counted by reason. Thread-safe; Check does not block.
class Gate final {
 public:
  using Metadata = std::multimap<grpc::string_ref, grpc::string_ref>;

  // `token_file` empty: open to all. Errors as of ReadFirstTokens; later a file without a token shuts everybody out.
  static absl::StatusOr<std::unique_ptr<Gate>> Create(const std::string& token_file, Metrics& metrics);

  // OK, or UNAUTHENTICATED.
  absl::Status Check(const Metadata& metadata) const;

  // Reads the file again. True where there are other tokens now: a change is taken when it is seen twice in a row,
  // since a file may be half written. With an error what held goes on holding.
  absl::StatusOr<bool> Reload();

  bool asks_for_tokens() const { return !token_file_.empty(); }
  std::string names() const { return Tokens()->names(); }

 private:
  Gate(std::string token_file, AuthTokens tokens, Metrics& metrics)
      : token_file_(std::move(token_file)),
        metrics_(metrics),
        tokens_(std::make_shared<AuthTokens>(std::move(tokens))) {}

  std::shared_ptr<const AuthTokens> Tokens() const;
  absl::Status Refuse(const char* reason, const char* message) const;

  const std::string token_file_;
  Metrics& metrics_;

  mutable Mutex mu_;
  std::shared_ptr<const AuthTokens> candidate_ ABSL_GUARDED_BY(mu_);  // other ones that were seen once
  std::shared_ptr<const AuthTokens> tokens_ ABSL_GUARDED_BY(mu_);
};

// For secure connections: refuses before gRPC has taken a message. `gate` must outlive gRPC's server.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeAuthProcessor(const Gate& gate);

}  // namespace vitower
