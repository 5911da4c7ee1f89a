#include "server/certificates.h"

#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <utility>
#include <vector>

#include "server/secret_file.h"
#include "server/status.h"

namespace vitower {
namespace {

using std::chrono::system_clock;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

Bio Reader(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// The certificates of a PEM text in their order; nothing where any of them cannot be read.
std::vector<Certificate> Certificates509(const std::string& pem) {
  std::vector<Certificate> all;
  const Bio bio = Reader(pem);
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) all.emplace_back(one);
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) all.clear();
  ERR_clear_error();
  return all;
}

// Never asks for a password.
Key PrivateKey(const std::string& pem) {
  const Bio bio = Reader(pem);
  std::string no_password;
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_password.data()));
  ERR_clear_error();
  return key;
}

system_clock::time_point TimeOf(const ASN1_TIME* time) {
  std::tm utc{};
  ASN1_TIME_to_tm(time, &utc);
  return system_clock::from_time_t(timegm(&utc));
}

std::string Date(system_clock::time_point time) {
  const std::time_t seconds = system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

absl::Status CheckValidity(const std::string& path, const X509& certificate, system_clock::time_point now) {
  const auto begins = TimeOf(X509_get0_notBefore(&certificate));
  const auto expires = TimeOf(X509_get0_notAfter(&certificate));
  if (now < begins) return BadInput("--tls-cert: ", path, " is not valid before ", Date(begins));
  if (now >= expires) return BadInput("--tls-cert: ", path, " expired on ", Date(expires));
  return absl::OkStatus();
}

absl::Status ReadIdentity(const TlsFiles& files, system_clock::time_point now, TlsMaterial& out) {
  const absl::StatusOr<std::string> chain_pem = ReadSmallFile("--tls-cert", files.cert);
  if (!chain_pem.ok()) return chain_pem.status();
  const std::vector<Certificate> chain = Certificates509(*chain_pem);
  if (chain.empty()) return BadInput("--tls-cert: ", files.cert, " is no PEM file of certificates");
  if (absl::Status valid = CheckValidity(files.cert, *chain.front(), now); !valid.ok()) return valid;
  const absl::StatusOr<std::string> key_pem = ReadSmallFile("--tls-key", files.key);
  if (!key_pem.ok()) return key_pem.status();
  const Key key = PrivateKey(*key_pem);
  if (!key) return BadInput("--tls-key: ", files.key, " is no PEM file of a private key without a password");
  const bool match = X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (!match) return BadInput("--tls-key: ", files.key, " is not the key of the certificate --tls-cert ", files.cert);
  out.identity = *key_pem + "\n" + *chain_pem;
  out.expires = TimeOf(X509_get0_notAfter(chain.front().get()));
  return absl::OkStatus();
}

absl::Status ReadClientCa(const std::string& path, TlsMaterial& out) {
  absl::StatusOr<std::string> pem = ReadSmallFile("--tls-client-ca", path);
  if (!pem.ok()) return pem.status();
  if (Certificates509(*pem).empty()) return BadInput("--tls-client-ca: ", path, " is no PEM file of certificates");
  out.client_ca = *std::move(pem);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files, system_clock::time_point now) {
  TlsMaterial material;
  if (absl::Status read = ReadIdentity(files, now, material); !read.ok()) return read;
  if (files.client_ca.empty()) return material;
  if (absl::Status read = ReadClientCa(files.client_ca, material); !read.ok()) return read;
  return material;
}

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Load(const TlsFiles& files) {
  absl::StatusOr<TlsMaterial> material = ReadTlsFiles(files, system_clock::now());
  if (!material.ok()) return material.status();
  std::unique_ptr<Certificates> certificates(new Certificates(files, *std::move(material)));
  if (absl::Status opened = certificates->Open(); !opened.ok()) return opened;
  return certificates;
}

absl::Status Certificates::Open() {
  constexpr unsigned kRefreshSeconds = 1;
  for (const auto& [pem, file] : {std::pair(&material_.identity, &identity_), {&material_.client_ca, &client_ca_}}) {
    absl::StatusOr<std::unique_ptr<MemoryFile>> created = MemoryFile::Create(*pem);
    if (!created.ok()) return created.status();
    *file = *std::move(created);
  }
  const std::string client_ca = files_.client_ca.empty() ? "" : client_ca_->path();
  provider_ = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(identity_->path(), identity_->path(),
                                                                                   client_ca, kRefreshSeconds);
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> Certificates::Credentials() const {
  grpc::experimental::TlsServerCredentialsOptions options(provider_);
  options.watch_identity_key_cert_pairs();
  if (!files_.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<bool> Certificates::Reload() {
  absl::StatusOr<TlsMaterial> material = ReadTlsFiles(files_, system_clock::now());
  if (!material.ok()) return material.status();
  if (material->SameFiles(material_)) return false;
  if (absl::Status replaced = identity_->Replace(material->identity); !replaced.ok()) return replaced;
  if (absl::Status replaced = client_ca_->Replace(material->client_ca); !replaced.ok()) return replaced;
  material_ = *std::move(material);
  return true;
}

}  // namespace vitower
