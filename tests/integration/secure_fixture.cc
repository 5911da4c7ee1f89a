#include "tests/integration/secure_fixture.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "tests/support/test_certificates.h"

namespace vitower {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Prepare(grpc::ClientContext& context, const std::string& authorization) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
}

}  // namespace

SecureTest::SecureTest() {
  WriteTestCertificates(folder_.path());
  folder_.Write("both-cas.pem", ReadText(Path("ca.pem")) + ReadText(Path("other-ca.pem")));
}

void SecureTest::Serve() {
  Start();
  ASSERT_TRUE(server_ && server_->WaitUntilServing().ok());
}

void SecureTest::ServeTls() {
  std::filesystem::copy_file(Path("server.pem"), Path("live.pem"), kReplace);
  std::filesystem::copy_file(Path("server.key"), Path("live.key"), kReplace);
  options_.tls_cert = Path("live.pem");
  options_.tls_key = Path("live.key");
  Serve();
}

void SecureTest::Install(const std::string& name) const {
  for (const char* kind : {".pem", ".key"}) {
    std::filesystem::copy_file(Path(name + kind), Path("next"), kReplace);
    std::filesystem::rename(Path("next"), Path(std::string("live") + kind));
  }
}

void SecureTest::WriteTokens(const std::string& text) const {
  folder_.Write("next", text);
  std::filesystem::permissions(Path("next"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::rename(Path("next"), options_.auth_tokens);
}

std::shared_ptr<grpc::Channel> SecureTest::Tls(const std::string& ca, const std::string& client,
                                               const std::string& name) const {
  grpc::SslCredentialsOptions pem;
  pem.pem_root_certs = ReadText(Path(ca + ".pem"));
  if (!client.empty()) {
    pem.pem_cert_chain = ReadText(Path(client + ".pem"));
    pem.pem_private_key = ReadText(Path(client + ".key"));
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!name.empty()) arguments.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::SslCredentials(pem),
                                   arguments);
}

grpc::StatusCode SecureTest::Call(const std::shared_ptr<grpc::Channel>& channel,
                                  const std::string& authorization) const {
  grpc::ClientContext context;
  Prepare(context, authorization);
  v1::EmbedResponse response;
  return v1::VisionEmbedder::NewStub(channel)->Embed(&context, OneImage(), &response).error_code();
}

grpc::StatusCode SecureTest::CallStream(const std::shared_ptr<grpc::Channel>& channel,
                                        const std::string& authorization) const {
  grpc::ClientContext context;
  Prepare(context, authorization);
  const auto stub = v1::VisionEmbedder::NewStub(channel);
  const auto stream = stub->EmbedStream(&context);
  v1::EmbedStreamRequest request;
  request.set_key(1);
  *request.mutable_item() = OneImage().items(0);
  stream->Write(request);
  stream->WritesDone();
  v1::EmbedStreamResponse response;
  while (stream->Read(&response)) continue;
  return stream->Finish().error_code();
}

grpc::StatusCode SecureTest::GetInfo(const std::shared_ptr<grpc::Channel>& channel,
                                     const std::string& authorization) const {
  grpc::ClientContext context;
  Prepare(context, authorization);
  v1::ModelInfo info;
  return v1::VisionEmbedder::NewStub(channel)->GetModelInfo(&context, {}, &info).error_code();
}

void SecureTest::AwaitStatus(grpc::StatusCode code, const std::function<grpc::StatusCode()>& call) {
  const auto give_up_at = std::chrono::steady_clock::now() + kLongEnough;
  while (call() != code) ASSERT_LT(std::chrono::steady_clock::now(), give_up_at);
}

double SecureTest::RequestsSeen() const {
  double seen = 0;
  std::istringstream lines(Scrape());
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("vitower_request_duration_seconds_count", 0) == 0) seen += std::stod(line.substr(line.rfind(' ')));
  }
  return seen;
}

SteadyLoad::SteadyLoad(std::function<grpc::StatusCode()> call) {
  for (int i = 0; i < 2; ++i) threads_.emplace_back([this, call] { Run(call); });
}

SteadyLoad::~SteadyLoad() { stop_ = true; }

void SteadyLoad::Run(const std::function<grpc::StatusCode()>& call) {
  while (!stop_) {
    const grpc::StatusCode code = call();
    ++answered_;
    if (code == grpc::StatusCode::OK) continue;
    const std::lock_guard lock(mu_);
    failures_ += " " + std::to_string(code);
  }
}

void SteadyLoad::AwaitMore(int calls) const {
  const int enough = answered_ + calls;
  while (answered_ < enough) std::this_thread::yield();
}

std::string SteadyLoad::failures() const {
  const std::lock_guard lock(mu_);
  return failures_;
}

}  // namespace vitower
