// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/memory_file.h"

namespace grpc::experimental {
class FileWatcherCertificateProvider;
}

namespace vitower {

// What the server shows and asks for in a TLS handshake, PEM.
struct TlsMaterial {
  std::string identity;   // the private key and the certificate chain
  std::string client_ca;  // empty: clients need no certificate
  std::chrono::system_clock::time_point expires;

  bool SameFiles(const TlsMaterial& other) const { return identity == other.identity && client_ca == other.client_ca; }
};

struct TlsFiles {
  std::string cert;
  std::string key;
  std::string client_ca;
};

// INVALID_ARGUMENT names the flag and the file: not readable, not PEM, an encrypted key, a key of another certificate,
// a certificate that is not valid at `now`.
absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files, std::chrono::system_clock::time_point now);

// The TLS files, and gRPC's credentials made of them, which follow when they change: handshakes take the new ones
// within two seconds, connections stay. gRPC's own watching of files serves nobody once a file is bad, or key and
// certificate are replaced one after the other; so it is given copies in memory of what was found to be good.
// Credentials and Reload are for one thread at a time. It must outlive gRPC's server.
class Certificates final {
 public:
  static absl::StatusOr<std::unique_ptr<Certificates>> Load(const TlsFiles& files);

  std::shared_ptr<grpc::ServerCredentials> Credentials() const;

  // Reads the files again. True where they have changed; with an error what held goes on holding.
  absl::StatusOr<bool> Reload();

  std::chrono::system_clock::time_point expires() const { return material_.expires; }

 private:
  Certificates(TlsFiles files, TlsMaterial material) : files_(std::move(files)), material_(std::move(material)) {}
  absl::Status Open();

  const TlsFiles files_;
  TlsMaterial material_;
  std::unique_ptr<MemoryFile> identity_;
  std::unique_ptr<MemoryFile> client_ca_;
  std::shared_ptr<grpc::experimental::FileWatcherCertificateProvider> provider_;
};

}  // namespace vitower
