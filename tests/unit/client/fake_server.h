#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "client/client.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// A server that answers as the test says and keeps the last request.
class FakeServer final : public v1::VisionEmbedder::Service {
 public:
  using OnEmbed = std::function<grpc::Status(const v1::EmbedRequest&, v1::EmbedResponse*)>;
  using Stream = grpc::ServerReaderWriter<v1::EmbedStreamResponse, v1::EmbedStreamRequest>;
  using OnStream = std::function<grpc::Status(Stream&)>;

  explicit FakeServer(OnEmbed embed = nullptr) : FakeServer(std::move(embed), nullptr) {}
  explicit FakeServer(OnStream stream) : FakeServer(nullptr, std::move(stream)) {}

  grpc::Status Embed(grpc::ServerContext* context, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override {
    KeepRequestId(*context);
    {
      const std::lock_guard lock(mu_);
      last_request_ = *request;
    }
    return embed_(*request, response);
  }

  grpc::Status EmbedStream(grpc::ServerContext* context, Stream* stream) override {
    KeepRequestId(*context);
    return stream_(*stream);
  }

  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*, v1::ModelInfo* info) override {
    info->set_name("random:tiny");
    info->set_dtype(v1::DTYPE_BF16);
    info->add_deepstack_visual_indexes(5);
    info->set_temporal_patch_size(2);
    info->set_video_max_pixels(4096);
    info->mutable_limits()->set_max_request_items(1024);
    info->mutable_limits()->set_max_stream_items(7);
    info->mutable_limits()->set_stream_chunk_bytes(65536);
    return grpc::Status::OK;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::unique_ptr<Client> Connect() const { return *Client::Create({.server = address()}); }
  v1::EmbedRequest last_request() const {
    const std::lock_guard lock(mu_);
    return last_request_;
  }
  std::string last_request_id() const {
    const std::lock_guard lock(mu_);
    return last_request_id_;
  }
  void SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus("", serving); }

 private:
  FakeServer(OnEmbed embed, OnStream stream) : embed_(std::move(embed)), stream_(std::move(stream)) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  void KeepRequestId(const grpc::ServerContext& context) {
    const auto found = context.client_metadata().find("x-request-id");
    const std::lock_guard lock(mu_);
    last_request_id_ =
        found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
  }

  const OnEmbed embed_;
  const OnStream stream_;
  int port_ = 0;
  mutable std::mutex mu_;
  v1::EmbedRequest last_request_;  // guarded by mu_
  std::string last_request_id_;    // guarded by mu_
  std::unique_ptr<grpc::Server> server_;
};

inline Client::Deadline Soon() { return std::chrono::system_clock::now() + std::chrono::seconds(20); }

inline EmbedItem ImageItem(std::string data, std::string id = "") {
  EmbedItem item;
  item.id = std::move(id);
  item.source = ImageSource{std::move(data)};
  return item;
}

}  // namespace vitower
