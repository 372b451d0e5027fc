"""The files beside this one: what h5py makes of every kind of dataset, and weights as layers on CuDNN had them in Keras 2, with what its loader
makes of them (_convert_rnn_weights, written out in conv). Run here with h5py, NumPy and safetensors."""
import h5py,numpy as np,json
from safetensors.numpy import save_file
with h5py.File('kinds.h5','w') as f:
    a=np.arange(35,dtype='f8').reshape(7,5)
    f['g/plain']=a.astype('f4'); f['g/double']=a; f['g/half']=a.astype('f2'); f['g/big']=a.astype('>f4')
    f['g/int8']=(a-17).astype('i1'); f['g/uint16']=(a*1800).astype('u2'); f['g/int64']=a.astype('i8')-20; f['g/bool']=(a%2==0)
    f.create_dataset('g/chunks',data=a.astype('f4'),chunks=(3,2)); 
    f.create_dataset('g/deflated',data=a.astype('f4'),chunks=(4,3),compression='gzip',shuffle=True,fletcher32=True)
    f.create_dataset('g/unwritten',shape=(2,3),dtype='f4'); f.create_dataset('g/scalar',data=np.float32(3.5))
    f.create_dataset('g/lzf',data=a.astype('f4'),chunks=(4,3),compression='lzf')
    f['g'].attrs['any']=['one','längere Worte',''] ; f['g'].attrs['fixed']=np.array([b'ab',b'cdef'],dtype='S4'); f['g'].attrs['one']='alone'; f['g'].attrs['none']=[]
    f['soft']=h5py.SoftLink('/g/plain'); f['outside']=h5py.ExternalLink('other.h5','/x')
    f.create_dataset('elsewhere',shape=(4,),dtype='f4',external=[('other.bin', 0, 16)])
    l=h5py.VirtualLayout(shape=(4,),dtype='f4'); l[:]=h5py.VirtualSource('other.h5','x',shape=(4,)); f.create_virtual_dataset('virtual',l)
    many=f.create_group('many')
    for i in range(200): many['layer_%d'%i]=np.float32(i)
with h5py.File('latest.h5','w',libver='latest') as f:
    f['g/plain']=np.arange(6,dtype='f4').reshape(2,3); f['g'].attrs['any']=['one','two']; f['empty/group']=np.float32(1)
def conv(k,n): return np.hstack([b.T.reshape(b.shape,order='F') for b in np.hsplit(k,n)])
r=np.random.default_rng(3); u=3; i=2
layers=[{"class_name":"CuDNNLSTM","config":{"name":"one","trainable":True,"batch_input_shape":[None,4,i],"dtype":"float32","units":u,"kernel_initializer":"glorot_uniform","return_sequences":True,"stateful":False,"go_backwards":False}},
        {"class_name":"CuDNNGRU","config":{"name":"two","trainable":True,"units":u,"return_sequences":False}}]
want={}
with h5py.File('cudnn.h5','w') as f:
    f.attrs['keras_version']=b'2.3.1'; f.attrs['backend']=b'tensorflow'; f.attrs['model_config']=json.dumps({"class_name":"Sequential","config":{"name":"s","layers":layers}}).encode()
    g=f.create_group('model_weights'); g.attrs['layer_names']=[b'one',b'two']
    for name,n,inp,path in (('one',4,i,'lstm_cell'),('two',3,u,'gru_cell')):
        k,rk,b=[r.standard_normal(s).astype('f4') for s in ((inp,n*u),(u,n*u),(2*n*u,))]
        s=g.create_group(name); names=[]
        for w,v in (('kernel',k),('recurrent_kernel',rk),('bias',b)):
            s[f'{name}_1/{w}:0']=v; names.append(f'{name}_1/{w}:0'.encode())
        s.attrs['weight_names']=names
        want[f'{name}/kernel']=conv(k,n); want[f'{name}/recurrent_kernel']=np.hstack([b_.T for b_ in np.hsplit(rk,n)])
        want[f'{name}/bias']=np.sum(np.split(b,2),axis=0) if n==4 else b.reshape(2,-1)
save_file({k:np.ascontiguousarray(v) for k,v in want.items()},'cudnn.safetensors')
