#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/options.h"
#include "client/client.h"

namespace vitower {

// How the sub-commands that talk to a server reach it.
struct ConnectionFlags {
  std::string server;  // HOST:PORT
  bool tls = false;    // also where any of the files or the name is given
  TlsOptions tls_options;
  std::string token_file;
  bool plain_text_tokens = false;
};

// All but --server, whose default differs.
void AddTlsFlags(Options& options, ConnectionFlags* flags);
void AddTokenFlags(Options& options, ConnectionFlags* flags);

// Reads the token. INVALID_ARGUMENT names the flags that contradict each other, or the file and what is wrong with it.
absl::StatusOr<ClientOptions> ToClientOptions(const ConnectionFlags& flags);

// Client::Create, whose errors are those of flags too: INVALID_ARGUMENT names the flag.
absl::StatusOr<std::unique_ptr<Client>> MakeClient(const ClientOptions& options);

}  // namespace vitower
