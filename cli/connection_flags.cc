#include "cli/connection_flags.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

bool WantsTls(const ConnectionFlags& flags) {
  const TlsOptions& tls = flags.tls_options;
  return flags.tls || !tls.ca.empty() || !tls.certificate.empty() || !tls.key.empty() || !tls.server_name.empty();
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::error_code ignored;
  std::ifstream file(path);
  if (!file.is_open() || std::filesystem::is_directory(path, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat("--token-file: cannot read ", path));
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::string token(absl::StripAsciiWhitespace(text));
  if (token.empty()) return absl::InvalidArgumentError(absl::StrCat("--token-file: ", path, " is empty"));
  if (token.find_first_of(" \t\r\n:") == std::string::npos) return token;
  return absl::InvalidArgumentError(
      absl::StrCat("--token-file: ", path, " must hold one token and nothing else (the server's file has names too)"));
}

}  // namespace

void AddTlsFlags(Options& options, ConnectionFlags* flags) {
  options.AddSwitch("tls", "encrypt, and trust the server if a CA of this system does", &flags->tls);
  options.Add({"tls-ca", "FILE", "", "encrypt, and trust the server if a CA of this PEM file does"},
              IntoText(&flags->tls_options.ca));
  options.Add({"tls-client-cert", "FILE", "", "PEM file of the certificate to show to a server that asks for one"},
              IntoText(&flags->tls_options.certificate));
  options.Add({"tls-client-key", "FILE", "", "PEM file of its private key"}, IntoText(&flags->tls_options.key));
  options.Add(
      {"tls-server-name", "NAME", "", "what the server's certificate must be for (default: the host of --server)"},
      IntoText(&flags->tls_options.server_name));
}

void AddTokenFlags(Options& options, ConnectionFlags* flags) {
  options.Add({"token-file", "FILE", "", "file with the token to show, alone on its line"},
              IntoText(&flags->token_file));
  options.AddSwitch("plain-text-tokens", "let the token travel unencrypted", &flags->plain_text_tokens);
}

absl::StatusOr<ClientOptions> ToClientOptions(const ConnectionFlags& flags) {
  ClientOptions client;
  client.server = flags.server;
  client.allow_plain_text_token = flags.plain_text_tokens;
  if (WantsTls(flags)) client.tls = flags.tls_options;
  if (flags.tls_options.certificate.empty() != flags.tls_options.key.empty()) {
    return absl::InvalidArgumentError("--tls-client-cert and --tls-client-key belong together: give both or neither");
  }
  if (flags.token_file.empty()) return client;
  if (!client.tls && !flags.plain_text_tokens) {
    return absl::InvalidArgumentError(
        "--token-file without --tls or --tls-ca: the token would travel unencrypted. Where that is meant, "
        "--plain-text-tokens says so");
  }
  absl::StatusOr<std::string> token = ReadToken(flags.token_file);
  if (!token.ok()) return token.status();
  client.token = *std::move(token);
  return client;
}

absl::StatusOr<std::unique_ptr<Client>> MakeClient(const ClientOptions& options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(options);
  if (client.ok()) return client;
  return absl::InvalidArgumentError(absl::StrCat("--", std::string(client.status().message())));
}

}  // namespace vitower
